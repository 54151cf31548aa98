"""Resolves a request: the commit, the command, and for a rerun what is left to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from mage_dbt.base.clock import Clock
from mage_dbt.base.tool_command import tool_command
from mage_dbt.client import report
from mage_dbt.commits.store import Commits
from mage_dbt.commits.variables import unread_variable
from mage_dbt.errors import BadVariable, Conflict, NothingLeft, RequestError
from mage_dbt.ledger import Ledger
from mage_dbt.model.commit import Commit
from mage_dbt.model.request import SAME_COMMIT, Operation, Request
from mage_dbt.model.run import Run, RunState
from mage_dbt.model.windows import Filled
from mage_dbt.runner.newer import NewerCommit
from mage_dbt.runner.rerun import PastRun, choose
from mage_dbt.runner.resolved_request import ResolvedRequest, refresh_options
from mage_dbt.settings import Settings


class Resolver:
    """Resolves requests. Times in its sentences are in the team's zone."""

    def __init__(
        self,
        commits: Commits,
        newer: NewerCommit,
        ledger: Ledger,
        settings: Settings,
    ) -> None:
        self._settings = settings
        self._commits = commits
        self._newer = newer
        self._ledger = ledger
        self._subdir = settings.dbt_metric_subdir
        self._zone = ZoneInfo(settings.daily_build_timezone)

    def resolve(
        self, request: Request, commit: Commit | None = None, run: Run | None = None
    ) -> ResolvedRequest:
        """What the request comes to now; on `commit` when its `run` was accepted on it before.

        Raises a RequestError, NoCommitReady, or for a rerun NotFound when its run does not exist,
        NothingLeft when nothing is left to run, and Conflict while the run goes on.
        """
        if request.operation is Operation.RERUN_FAILED:
            return self._rerun(request, commit, run)
        waited = self._wait(request, commit)
        commit = commit or self._commit_for(request.commit)
        unread = [unread_variable(name, commit) for name in request.variables]
        return ResolvedRequest(
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
            refresh=refresh_options(self._settings, request),
            is_full_build=request.is_full_build,
            restore_views=self._settings.restore_dropped_views,
            failing_rows=self._settings.failing_rows,
            failing_rows_role=self._settings.failing_rows_role or "",
            drops_expired=request.is_full_build,
            zone=self._zone.key,
        )

    def _rerun(self, request: Request, commit: Commit | None, run: Run | None) -> ResolvedRequest:
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
        first = root.request
        if first.operation is Operation.UNDO_REFRESH:
            raise RequestError(
                f"Run {root.id} is an undo, which is never left half done, so it is not rerun.",
                "Ask for the undo again: "
                f"`{tool_command('run')} undo_refresh {' '.join(first.models)}`.",
            )
        command = first.dbt_command()
        chapters = [self._past_run(run_of_story, commit) for run_of_story in story]
        planned = any(chapter.nodes for chapter in chapters)
        asked = self._asked_since(root)
        alike = [run_id for run_id, earlier in asked.items() if earlier.does_all_of(first)]
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
        return ResolvedRequest(
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
            refresh=refresh_options(self._settings, first),
            restore_views=self._settings.restore_dropped_views,
            failing_rows=self._settings.failing_rows,
            failing_rows_role=self._settings.failing_rows_role or "",
            zone=self._zone.key,
            rerun=replace(rerun, notes=(*rerun.notes, *filter(None, unread))),
        )

    def _story(self, request: Request, run: Run | None) -> tuple[Run, list[Run]]:
        """The run to run again, and its story without `run`. Raises Conflict while one of it goes
        on."""
        of = self._run_to_rerun(run.follows if run and run.follows else request.of)
        story = [
            run_of_story
            for run_of_story in self._ledger.story(of.id)
            if run is None or run_of_story.id != run.id
        ]
        self.refuse_while_rerun(story)
        return of, story

    def _wait(self, request: Request, commit: Commit | None) -> tuple[str, ...]:
        """Waits for a newer commit where the request asks for it; returns notes on the outcome."""
        if commit is not None or not request.waits_for_commit:
            return ()
        return tuple(filter(None, [self._newer.wait()]))

    def _asked_since(self, root: Run) -> dict[str, Request]:
        """The requests, by run, of runs with results since the root was asked for."""
        found = {}
        for run, request in self._ledger.asked_since(root.target, root.asked_at).items():
            with suppress(RequestError):  # a command that is no longer allowed repairs nothing
                request.dbt_command()
                found[run] = request
        return found

    def _filled(
        self, story: Sequence[PastRun], asked: Mapping[str, Request], first: Request
    ) -> dict[str, list[Filled]]:
        """By node of the story that did not pass in it, the batches that were filled since."""
        planned = {
            node.node for chapter in story for node in chapter.nodes if node.may_have_batches
        }
        failed = {node.node for chapter in story for node in chapter.run.nodes if not node.passed}
        if not planned & failed:
            return {}
        runs = [run_id for run_id, earlier in asked.items() if earlier.fills_as(first)]
        return self._ledger.filled(runs, sorted(planned & failed))

    def _run_to_rerun(self, of: str | None) -> Run:
        """The named run, or else the newest build of everything, whoever began it.

        Raises Conflict while it goes on, NothingLeft when it passed, NotFound.
        """
        clock = Clock(self._zone, datetime.now(UTC))
        if of:
            run = self._ledger.head(of)
        else:
            last = self._ledger.last_full_build()
            if last is None:
                raise Conflict(
                    "Nothing has built everything yet, so there is no daily build to run again.",
                    f"Name a run in `of`; `{tool_command('runs')}` lists them.",
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
        for rerun in story:
            if not rerun.state.final:
                asked = clock.say_with_zone(rerun.asked_at)
                raise Conflict(
                    f"Run {rerun.id}, asked for by {rerun.caller} at {asked}, is running that "
                    f"again already: {rerun.state}.",
                    "Wait for it, or cancel it.",
                )

    def _past_run(self, run: Run, commit: Commit) -> PastRun:
        history = self._commits.history
        changes = history.changes(run.commit, commit.sha, self._subdir)
        return PastRun(run, self._ledger.plan(run).nodes, changes)

    def _commit_for(self, name: str, was_used: bool = False) -> Commit:
        return self._commits.named(name, was_used) if name else self._commits.newest()

    def _notices(self, commit: Commit) -> tuple[str, ...]:
        """Warnings about the commit itself, for each run on it."""
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
