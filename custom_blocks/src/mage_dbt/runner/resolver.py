"""What a request comes to: the commit, the command, and for a rerun what is left to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from mage_dbt import report
from mage_dbt.clock import Clock
from mage_dbt.commit import Commit
from mage_dbt.commits import Commits, unread_variable
from mage_dbt.errors import BadVariable, Conflict, NothingLeft
from mage_dbt.ledger import Ledger
from mage_dbt.request import SAME_COMMIT, Operation, Request
from mage_dbt.run import Run, RunState
from mage_dbt.runner.order import Order
from mage_dbt.runner.rerun import Chapter, choose


class Resolver:
    """Makes Orders of requests. Times in its sentences are in `zone`."""

    def __init__(self, commits: Commits, ledger: Ledger, subdir: str, zone: ZoneInfo) -> None:
        """`subdir` is the folder of dbt_project.yml inside the repository."""
        self._commits = commits
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
        )

    def _rerun(self, request: Request, commit: Commit | None, run: Run | None) -> Order:
        of = self._run_to_rerun(run.follows if run and run.follows else request.of)
        story = [one for one in self._ledger.story(of.id) if run is None or one.id != run.id]
        root = story[0]
        if request.variables:
            raise BadVariable(
                "A rerun keeps the variables of the run it runs again.",
                f"Leave them out, or select the models to build instead of rerunning {of.id}.",
            )
        self.refuse_while_rerun(story)
        if commit is None:
            same = request.commit == SAME_COMMIT
            commit = self._commit_for(of.commit if same else request.commit)
        first = Request.parse(root.request)
        command = first.dbt_command()
        chapters = [self._chapter(one, commit) for one in story]
        planned = any(one.nodes for one in chapters)
        rerun = choose(
            chapters,
            self._ledger.latest(root.target, root.asked_at),
            # What is enabled, and where it lies, is a matter of the graph that will run.
            self._commits.seen(commit, first.variables, root.target) if planned else commit,
            command.name in ("build", "run"),
            Clock(self._zone, datetime.now(UTC)),
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
            follows=of.id,
            rerun=replace(rerun, notes=(*rerun.notes, *filter(None, unread))),
        )

    def _run_to_rerun(self, of: str | None) -> Run:
        """The run named, or the last daily build. Raises Conflict when it goes on or passed."""
        clock = Clock(self._zone, datetime.now(UTC))
        if of:
            run = self._ledger.run(of)
        else:
            last = self._ledger.last_morning()
            if last is None:
                raise Conflict(
                    "There has been no daily build yet, so none can be run again.",
                    "Name a run in `of`; `mage-dbt runs` lists them.",
                )
            run = last
        called = f"Run {run.id}" if of else f"The daily build of {run.morning}, run {run.id},"
        if not run.state.final:
            since = clock.say(run.started_at or run.asked_at)
            raise Conflict(
                f"{called} is not over: {run.state} since {since}.", "Wait for it, or cancel it."
            )
        if run.state is RunState.SUCCESS:
            assert run.finished_at is not None
            raise NothingLeft(
                f"{called} succeeded at {clock.say(run.finished_at)}: nothing of it is left to run."
            )
        return run

    def refuse_while_rerun(self, story: Sequence[Run]) -> None:
        """Raises Conflict when a run of the story is not over."""
        clock = Clock(self._zone, datetime.now(UTC))
        for one in story:
            if not one.state.final:
                raise Conflict(
                    f"Run {one.id}, asked for by {one.caller} at {clock.say(one.asked_at)}, is "
                    f"running that again already: {one.state}.",
                    "Wait for it, or cancel it.",
                )

    def _chapter(self, run: Run, commit: Commit) -> Chapter:
        history = self._commits.history
        changes = history.changes(run.commit, commit.sha, self._subdir)
        return Chapter(run, self._ledger.plan(run).nodes, changes)

    def _commit_for(self, name: str) -> Commit:
        return self._commits.named(name) if name else self._commits.newest()

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
            return commit.notes
        newer = f'{broken.sha[:7]} "{broken.subject}"'
        return (
            f"The newest commit {newer} by {broken.author} is broken, so this run uses "
            f"{commit.sha[:7]}. {broken.error}",
            *commit.notes,
        )
