"""One invocation of dbt for a job: dbt selects, the plan is answered, dbt executes.

It is one dbt command. Between its selection and its first statement the plan goes out, and the
command waits for its turn. So what was planned and what runs cannot differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dbt.tracking
from dbt.adapters.factory import get_adapter

from mage_dbt.dbt.plan import refusals
from mage_dbt.dbt.plan.chosen import Chosen
from mage_dbt.dbt.plan.planner import Planner, RefusedAtItsTurn
from mage_dbt.dbt.project import QUIET, Project
from mage_dbt.dbt.results.batches import Batches
from mage_dbt.dbt.results.recorder import Recorder
from mage_dbt.dbt.sessions import names
from mage_dbt.model.run import INTERRUPTED, EventKind
from mage_dbt.model.variables import to_yaml
from mage_dbt.warehouse.refresh import RefreshRefused
from mage_dbt.workers.job import Job

if TYPE_CHECKING:
    from mage_dbt.dbt.dropped_views import DroppedViews
    from mage_dbt.dbt.refresh.refresh import Refresh, WaitForSwap

AT_ONCE_SECONDS = 0.25
"""A turn that comes sooner needs no second look: the plan's answers are that old at most."""


class Refused(Exception):
    """Ends dbt's command when the job cannot be planned; the answer says why."""


class Invocation:
    """One job's run of dbt, in a worker's process."""

    def __init__(
        self, job: Job, project: Project, arguments: list[str], wait_for_swap: WaitForSwap
    ) -> None:
        """`arguments` are those of `arguments_of`. `wait_for_swap` waits for the decision on a
        refresh that is shown first."""
        self._job = job
        self._project = project
        self._arguments = arguments
        self._chosen = Chosen(job, project.manifest) if job.nodes or job.models else None
        self._batches = Batches(job, project.manifest)
        self._planner = Planner(job, project, arguments, self._chosen, self._batches)
        self._recorder = Recorder(job, project.manifest, self._batches, self._planner.warehouse)
        self._refresh = self._refresh_of(job, wait_for_swap)
        self._dropped_views: DroppedViews | None = None

    def run(
        self, answer: Callable[[dict[str, Any]], object], wait_for_turn: Callable[[], None]
    ) -> None:
        """Plans, answers with the plan or why it is refused, waits for its turn, and executes."""
        if refused := refusals.of_named_nodes(self._job, self._project.manifest, self._chosen):
            answer(refused)
            return
        answered = begun = False
        failed: BaseException | None = None

        def selected(task: Any) -> None:
            nonlocal answered, begun, failed
            try:
                self._project.learn_package_folders(task.config)
                plan = self._planner.plan(task, self._recorder.unmatched, self._refresh)
                answer(plan)
                answered = True
                if plan["refused"]:
                    raise Refused
                self._recorder.expect(self._planner.planned.__contains__)
                asked_at = time.monotonic()
                wait_for_turn()
                self._look_again(waited=time.monotonic() - asked_at)
                self._watch_views(task)
                if self._refresh:
                    self._refresh.begin()
                resumes = not self._refresh or self._refresh.resumes
                self._batches.take_over(
                    task,
                    self._recorder.result_in_time,
                    self._recorder.fills,
                    self._job.gaps if resumes else {},
                )
            except BaseException as error:
                failed = error
                raise
            # A model's `run_started_at` is when it runs, not when the run was queued.
            user = dbt.tracking.active_user
            user.run_started_at = datetime.now(tz=user.run_started_at.tzinfo)
            begun = True

        # Only the selected nodes' schemas are listed: dbt lists others when it is asked for them.
        words = [self._job.command, *self._arguments, "--cache-selected-only"]
        words += [*self._selection(), *self._job.flags]
        done = self._project.invoke_selected(words, selected, self._recorder.hear, self._selecting)
        if begun:
            self._recorder.results(done)
            if self._refresh and not self._failing_rows(done):  # read before they are dropped
                done.exception = KeyboardInterrupt(INTERRUPTED)
            reason = self._refresh.finish(done) if self._refresh else ""
            if self._refresh and self._refresh.unknown:
                self._recorder.write_unless_swapped()
            self._recorder.release(reason)
            # What could not be put back is tried again by the process that ends sessions.
            restored = self._dropped_views.end() if self._dropped_views else True
            if self._job.drops_expired and self._adapter == "postgres":
                self._drop_expired()
            if not self._refresh:
                self._failing_rows(done)
            self._recorder.end(done, names.left_behind or not restored, reason)
        elif isinstance(failed, RefreshRefused) and not answered:
            answer(refusals.refusal("request", failed.message, failed.hint))
        elif isinstance(failed, (RefusedAtItsTurn, RefreshRefused)):
            left = names.left_behind
            self._recorder.write(
                EventKind.END, success=False, message=str(failed), sessions_left=left
            )
        elif failed is not None and not isinstance(failed, Refused):
            raise failed
        elif not answered:
            answer(refusals.of_error(done.exception))

    @contextmanager
    def _selecting(self) -> Iterator[None]:
        """dbt selects in this block, which changes what it selects where the job says so."""
        with ExitStack() as stack:
            if self._chosen:
                stack.enter_context(self._chosen.in_charge())
            if self._refresh:
                stack.enter_context(self._refresh.selecting())
            yield

    @property
    def _adapter(self) -> str:
        return str(self._project.manifest.metadata.adapter_type)

    def _drop_expired(self) -> None:
        from mage_dbt.dbt.refresh.expiry import drop_expired

        drop_expired(self._project.config.credentials, self._recorder)

    def _failing_rows(self, done: Any) -> bool:
        """Records rows that failing tests have found; False when it was interrupted."""
        results = getattr(done.result, "results", None) or []
        if not (self._job.failing_rows and results and self._adapter == "postgres"):
            return True
        # Imported here: another adapter may come without the driver.
        from mage_dbt.dbt.results.failing_rows import RowsOfTests

        return RowsOfTests(
            self._project.manifest,
            self._project.config.credentials,
            self._recorder,
            self._job.failing_rows,
            self._job.failing_rows_role,
        ).record(results)

    def _refresh_of(self, job: Job, wait_for_swap: WaitForSwap) -> Refresh | None:
        """The refresh aside of a job that asks for one, where the server can do it."""
        if job.refresh is None or self._adapter != "postgres":
            return None
        # Imported here: another adapter may come without the driver.
        from mage_dbt.dbt.refresh.refresh import Refresh

        return Refresh(
            job,
            job.refresh,
            self._project,
            self._arguments,
            self._planner.warehouse,
            self._recorder,
            wait_for_swap,
        )

    def _watch_views(self, task: Any) -> None:
        """Has the views come back that dbt will drop along, where the job says so."""
        if not (self._job.restore_views and self._adapter == "postgres" and self._planner.targets):
            return
        # Imported here: another adapter may come without the driver.
        from mage_dbt.dbt import dropped_views

        adapter = get_adapter(task.config)
        self._dropped_views = dropped_views.of_run(
            self._job.folder, adapter.config.credentials, self._planner.targets, self._recorder
        )
        self._dropped_views.save()
        self._dropped_views.watch(adapter)
        self._recorder.on_end = self._dropped_views.node_ended

    def _look_again(self, waited: float) -> None:
        """Looks at what will be dropped along, which may have changed in `waited` seconds.

        Raises RefusedAtItsTurn.
        """
        if waited < AT_ONCE_SECONDS and not self._planner.guard.keeps:
            return
        for text in self._planner.look_again():
            self._recorder.warn(text)

    def _selection(self) -> list[str]:
        flags: list[str] = []
        if self._job.select:
            flags += ["--select", *self._job.select]
        if self._job.exclude:
            flags += ["--exclude", *self._job.exclude]
        return flags


def arguments_of(job: Job) -> list[str]:
    """dbt's flags for any command of this job: where everything is, and the variables."""
    return [
        *(*job.dbt_arguments, *QUIET),
        *("--target-path", str(job.folder / "target")),
        *("--log-path", str(job.folder / "logs")),
        *("--vars", to_yaml(job.variables)),
    ]
