"""What a request comes to: the commit, the command, and for a rerun what is left to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from mage_dbt import report
from mage_dbt.clock import Clock
from mage_dbt.commit import Commit
from mage_dbt.commits import Commits, unread_variable
from mage_dbt.errors import BadVariable, Conflict, NothingLeft, RequestError
from mage_dbt.ledger import Ledger
from mage_dbt.request import SAME_COMMIT, Operation, Request
from mage_dbt.run import Run, RunState
from mage_dbt.runner.newer import NewerCommit
from mage_dbt.runner.order import Order
from mage_dbt.runner.rerun import Chapter, choose
from mage_dbt.windows import Filled


class Resolver:
    """Makes Orders of requests. Times in its sentences are in `zone`."""

    def __init__(
        self,
        commits: Commits,
        newer: NewerCommit,
        ledger: Ledger,
        subdir: str,
        zone: ZoneInfo,
    ) -> None:
        """`subdir` is the folder of dbt_project.yml inside the repository."""
        self._commits = commits
        self._newer = newer
        self._ledger = ledger
        self._subdir = subdir
        self._zone = zone

    def order(
        self, request: Request, commit: Commit | None = None, run: Run | None = None
    ) -> Order:
        """What the request comes to now; on `commit` when `run` has been accepted on it before.

        Raises a RequestError, NoCommitReady, NotFound for a run that is not there, NothingLeft for
        one that is repaired, or Conflict for one that is going on.
        """
        if request.operation is Operation.RERUN_FAILED:
            return self._rerun(request, commit, run)
        waited = self._wait(request, commit)
        commit = commit or self._commit_for(request.commit)
        unread = [unread_variable(name, commit) for name in request.variables]
        return Order(
            commit=commit,
            command=request.dbt_command(),
            variables=request.variables,
            target=run.target if run else self._commits.target(commit, request.variables),
            caller=request.caller,
            keep_views=request.keep_views,
            notices=(*self._notices(commit), *filter(None, unread)),
            notes=waited,
            models=request.models,
            with_upstream=request.with_upstream,
            with_downstream=request.with_downstream,
            zone=self._zone.key,
        )

    def _rerun(self, request: Request, commit: Commit | None, run: Run | None) -> Order:
        of, story = self._story(request, run)
        root = story[0]
        if request.variables:
            raise BadVariable(
                "A rerun keeps the variables of the run it runs again.",
                f"Leave them out, or select the models to build instead of rerunning {of.id}.",
            )
        waited = self._wait(request, commit)
        if waited:  # others may have asked meanwhile
            of, story = self._story(request, run)
        if commit is None:
            same = request.commit == SAME_COMMIT
            commit = self._commit_for(of.commit if same else request.commit, was_used=same)
        first = Request.parse(root.request)
        command = first.dbt_command()
        chapters = [self._chapter(one, commit) for one in story]
        planned = any(one.nodes for one in chapters)
        asked = self._asked_since(root)
        alike = [one for one, request in asked.items() if request.does_all_of(first)]
        rerun = choose(
            chapters,
            self._ledger.latest(alike, root.asked_at),
            # What is enabled, and where it lies, is a matter of the graph that will run.
            self._commits.seen(commit, first.variables, root.target) if planned else commit,
            command,
            Clock(self._zone, datetime.now(UTC)),
            self._filled(chapters, asked, first),
        )
        unread = [unread_variable(name, commit) for name in first.variables]
        return Order(
            commit=commit,
            command=command,
            variables=first.variables,
            target=root.target,
            caller=request.caller,
            keep_views=request.keep_views,
            notices=self._notices(commit),
            notes=waited,
            follows=of.id,
            models=first.models,
            with_upstream=first.with_upstream,
            with_downstream=first.with_downstream,
            zone=self._zone.key,
            rerun=replace(rerun, notes=(*rerun.notes, *filter(None, unread))),
        )

    def _story(self, request: Request, run: Run | None) -> tuple[Run, list[Run]]:
        """The run to run again, and its story without `run`; Conflict when one goes on."""
        of = self._run_to_rerun(run.follows if run and run.follows else request.of)
        story = [one for one in self._ledger.story(of.id) if run is None or one.id != run.id]
        self.refuse_while_rerun(story)
        return of, story

    def _wait(self, request: Request, commit: Commit | None) -> tuple[str, ...]:
        """Waits for a newer commit where that is asked for; what came of it, for the notes."""
        if commit is not None or not request.waits_for_commit:
            return ()
        return tuple(filter(None, [self._newer.wait()]))

    def _asked_since(self, root: Run) -> dict[str, Request]:
        """By run with results since the root was asked for, what was asked for."""
        found = {}
        for run, request in self._ledger.asked_since(root.target, root.asked_at).items():
            with suppress(RequestError):  # in words that are no longer allowed: it repairs nothing
                found[run] = Request.parse(request)
        return found

    def _filled(
        self, story: Sequence[Chapter], asked: Mapping[str, Request], first: Request
    ) -> dict[str, list[Filled]]:
        """What batches have filled since, of models of the story that did not pass in it."""
        planned = {one.node for chapter in story for one in chapter.nodes if one.may_have_batches}
        failed = {one.node for chapter in story for one in chapter.run.nodes if not one.passed}
        if not planned & failed:
            return {}
        runs = [one for one, request in asked.items() if request.fills_as(first)]
        return self._ledger.filled(runs, sorted(planned & failed))

    def _run_to_rerun(self, of: str | None) -> Run:
        """The run named, or the newest build of everything, whoever began it: that of the day, the
        first one of a new workspace, or somebody's. Raises Conflict when it goes on or passed."""
        clock = Clock(self._zone, datetime.now(UTC))
        if of:
            run = self._ledger.run(of)
        else:
            last = self._ledger.last_full_build()
            if last is None:
                raise Conflict(
                    "Nothing has built everything yet, so there is no daily build to run again.",
                    "Name a run in `of`; `mage-dbt runs` lists them.",
                )
            run = last
        called = f"Run {run.id}" if of else f"The last {_full_build(run)}, run {run.id},"
        if not run.state.final:
            since = clock.say_with_zone(run.started_at or run.asked_at)
            raise Conflict(
                f"{called} is not over: {run.state} since {since}.", "Wait for it, or cancel it."
            )
        if run.state is RunState.SUCCESS:
            assert run.finished_at is not None
            at = clock.say_with_zone(run.finished_at)
            raise NothingLeft(f"{called} succeeded at {at}: nothing of it is left to run.")
        return run

    def refuse_while_rerun(self, story: Sequence[Run]) -> None:
        """Raises Conflict when a run of the story is not over."""
        clock = Clock(self._zone, datetime.now(UTC))
        for one in story:
            if not one.state.final:
                asked = clock.say_with_zone(one.asked_at)
                raise Conflict(
                    f"Run {one.id}, asked for by {one.caller} at {asked}, is running that again "
                    f"already: {one.state}.",
                    "Wait for it, or cancel it.",
                )

    def _chapter(self, run: Run, commit: Commit) -> Chapter:
        history = self._commits.history
        changes = history.changes(run.commit, commit.sha, self._subdir)
        return Chapter(run, self._ledger.plan(run).nodes, changes)

    def _commit_for(self, name: str, was_used: bool = False) -> Commit:
        return self._commits.named(name, was_used) if name else self._commits.newest()

    def _notices(self, commit: Commit) -> tuple[str, ...]:
        """What every run on `commit` says about the commit itself."""
        live, broken = self._commits.live, self._commits.broken
        if live is not None and commit.sha != live.sha:
            behind = self._commits.history.distance(commit.sha, live.sha)
            return (
                f"{commit.sha[:7]} is {report.commits(behind)} behind {live.sha[:7]}, the newest "
                "that is ready."
                if behind
                else f"{commit.sha[:7]} is not the newest commit, {live.sha[:7]}.",
                *commit.notes,
            )
        if broken is None:
            return (*filter(None, [self._newer.notice()]), *commit.notes)
        newer = f'{broken.sha[:7]} "{broken.subject}"'
        if broken.by_machine:
            return (
                f"The newest commit {newer} is not ready, so this run uses {commit.sha[:7]}. "
                f"{broken.error}",
                *commit.notes,
            )
        return (
            f"The newest commit {newer} by {broken.author} is broken, so this run uses "
            f"{commit.sha[:7]}. {broken.error}",
            *commit.notes,
        )


def _full_build(run: Run) -> str:
    if run.morning:
        return f"daily build, of {run.morning}"
    return f"build of everything, by {run.caller}"
