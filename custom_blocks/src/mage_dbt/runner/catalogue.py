"""The nodes of the live commit with their past, put together from commit, graph, ledger and git."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from mage_dbt.base.redaction import scrub
from mage_dbt.base.text import storable
from mage_dbt.commits.changes import commits_touching
from mage_dbt.commits.store import Commits
from mage_dbt.errors import NotFound, RequestError, did_you_mean
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.builds import BuildLedger
from mage_dbt.ledger.node_history import Failures, NodeHistory
from mage_dbt.model.commit import Commit, CommitLine, Model
from mage_dbt.model.folded import TESTS
from mage_dbt.model.graph import Graph, GraphNode
from mage_dbt.model.shown_model import (
    GoneModel,
    LastResult,
    Neighbour,
    NodeTest,
    NoRefresh,
    Report,
    ShownModel,
)
from mage_dbt.runner.service import Runner

MOST_RESULTS = 90
"""Of one node."""

MOST_NEIGHBOURS = 500
"""On each side; the last models of a large project read nearly all of it."""

MOST_TESTS = 500

MOST_COMMITS = 5

LONGEST_SOURCE = 200_000
"""Bytes that are shown; more is not read by people."""

MORE = 10_000
"""Read beyond that, so that no secret is cut in two and shown by half."""

SEED_LINES = 100
"""Of a CSV file, whose rows say little."""

MONTH, QUARTER = timedelta(days=30), timedelta(days=90)

REFRESHABLE = ("table", "incremental", "seed")
"""Materializations of which a full refresh makes sense."""

NOT_REFRESHABLE = {
    "view": NoRefresh.VIEW,
    "snapshot": NoRefresh.SNAPSHOT,
    "ephemeral": NoRefresh.EPHEMERAL,
}


@dataclass(frozen=True)
class ModelLine:
    """A model in a list."""

    model: Model
    last: LastResult | None
    usual_seconds: float | None


class Catalogue:
    """The nodes of one workspace. Any method from any thread."""

    def __init__(self, runner: Runner, ledger: Ledger, subdir: str) -> None:
        """`subdir` is the folder of dbt_project.yml in the repository."""
        self._runner = runner
        self._ledger = ledger
        self._subdir = subdir
        self._guard = threading.Lock()
        self._touched: dict[tuple[str, str], tuple[CommitLine, ...] | None] = {}
        self._builds = BuildLedger(ledger)
        self._looking_for_gone = threading.Lock()  # of its own: pages of models never wait for it
        self._gone: tuple[tuple[str, str, int], tuple[GoneModel, ...]] | None = None

    @property
    def _commits(self) -> Commits:
        return self._runner.commits

    @cached_property
    def _history(self) -> NodeHistory:
        return NodeHistory(self._ledger)

    @property
    def live(self) -> Commit:
        """Raises NoCommitReady."""
        return self._commits.newest()

    def lines(self, models: Sequence[Model]) -> list[ModelLine]:
        """These models with their last results and how long they usually take."""
        nodes = [model.node for model in models]
        last = self._history.last(nodes)
        usual = self._history.usual_seconds(nodes, self.live.target)
        return [ModelLine(model, last.get(model.node), usual.get(model.node)) for model in models]

    def gone(self) -> tuple[GoneModel, ...]:
        """What runs have built and the live commit no longer has, the last built first.

        Looked up once for each commit and each end of a run. Raises LedgerUnreachable.
        """
        live = self.live
        key = (live.sha, live.target, self._builds.last_end())
        with self._looking_for_gone:
            if self._gone is None or self._gone[0] != key:
                there = {model.node for model in live.models}
                if graph := self._commits.graph(live.sha):
                    there |= graph.nodes.keys()
                lost = self._history.known() - there
                self._gone = (key, self._history.last_states(sorted(lost), live.target))
            return self._gone[1]

    def compiled_file(self, run: str, node: str) -> str:
        """The node's compiled SQL, relative to the run's folder; empty where dbt wrote none."""
        return self._history.compiled(run, node)

    def last(self, nodes: Iterable[str]) -> dict[str, LastResult]:
        """By node, its last result; a skipped one only without another."""
        return self._history.last(nodes)

    def called(self, wanted: str) -> tuple[str, ...]:
        """The unique ids that this unique id or name means, mostly one.

        A unique id or name that only the ledger knows is found too: the history of a deleted model
        stays. Raises NotFound and NoCommitReady.
        """
        live = self.live
        graph = self._commits.graph(live.sha)
        if (graph and wanted in graph.nodes) or any(model.node == wanted for model in live.models):
            return (wanted,)
        named = tuple(sorted(model.node for model in live.models if model.name == wanted))
        if named:
            return named
        if "\x00" not in wanted:
            if "." in wanted and self._history.identity(wanted):
                return (wanted,)
            if gone := self._history.named(wanted):
                return gone
        raise NotFound(
            f"No model, seed or snapshot {wanted[:200]!r} in dbt-metric at {live.sha[:7]}.",
            did_you_mean(wanted[:200], live.names()) or "`GET /v1/models` lists them.",
        )

    def only(self, wanted: str) -> str:
        """The one node with this unique id or name. Raises as `called`, and RequestError for a
        name that several nodes have."""
        found = self.called(wanted)
        if len(found) > 1:
            raise RequestError(
                f"Several nodes are called {wanted!r}.", f"Name one: {', '.join(found)}."
            )
        return found[0]

    def graph(self) -> Graph | None:
        """The graph of the live commit."""
        return self._commits.graph(self.live.sha)

    def show(self, node: str) -> ShownModel:
        """All that is known of a node by its unique id, which `called` has found."""
        live, graph = self.live, self._commits.graph(self.live.sha)
        shown = self._described(node, live, graph)
        results = self._history.results(node, MOST_RESULTS)
        shown = replace(
            shown,
            results=results,
            built=next((result for result in results if result.built), None)
            or self._history.last_built(node, live.target),
            usual_seconds=self._history.usual_seconds([node], live.target).get(node),
            compiled_run=next((past.run for past in results if past.status != "skipped"), ""),
        )
        if shown.there and shown.path:
            source, note = self._source(live, shown)
            commits = self._commits_of(live.sha, shown.path)
            shown = replace(shown, source=source, source_note=note, commits=commits)
        shown = self._surveyed(shown, live)
        return self._placed(shown, graph) if graph and shown.there else shown

    # ------------------------------------------------------------------ parts

    def _described(self, node: str, live: Commit, graph: Graph | None) -> ShownModel:
        if graph and (found := graph.nodes.get(node)):
            return ShownModel(
                node=node,
                name=found.label or found.name,
                type=found.type,
                commit=live.sha,
                package=found.package,
                materialized=found.materialized,
                relation=found.relation,
                description=found.description,
                path=found.path,
                tags=found.tags,
                columns=found.columns,
                no_refresh=_no_refresh(found.type, found.materialized, found.keeps_rows),
            )
        model = next((model for model in live.models if model.node == node), None)
        if model is not None:
            return ShownModel(
                **{name: getattr(model, name) for name in _OF_A_MODEL},
                commit=live.sha,
                no_refresh=_no_refresh(model.type, model.materialized, keeps_rows=False),
                graph_known=False,
            )
        known = self._history.identity(node)
        assert known is not None  # `called` has found it
        return ShownModel(
            node=node,
            commit=live.sha,
            there=False,
            no_refresh=NoRefresh.GONE,
            **vars(known),
        )

    def _surveyed(self, shown: ShownModel, live: Commit) -> ShownModel:
        survey = self._runner.survey
        if survey is None:
            return shown
        now = datetime.now(UTC)
        kept = [kept for kept in survey.kept if kept.node == shown.node and kept.until > now]
        changed = survey.of([shown.node]) if survey.commit == live.sha else []
        return replace(
            shown,
            kept=max(kept, key=lambda version: version.at, default=None),
            changed=changed[0].columns if changed else (),
            changed_sentence=changed[0].sentence if changed else "",
        )

    def _placed(self, shown: ShownModel, graph: Graph) -> ShownModel:
        """With what is around it in the graph: tests, upstream, downstream, reports."""
        node = shown.node
        readers = graph.readers
        tests = [
            graph.nodes[reader]
            for reader in readers.get(node, ())
            if graph.nodes[reader].type in TESTS and graph.nodes[reader].tested in ("", node)
        ]
        up = _levels(node, lambda other: graph.nodes[other].reads if other in graph.nodes else ())
        down = _levels(node, lambda other: readers.get(other, ()))
        around = [*up, *down]
        shown_around = {
            other: distance
            for other, distance in around
            if other in graph.nodes and graph.nodes[other].type not in (*TESTS, "exposure")
        }
        nearest = [
            [(other, distance) for other, distance in side if other in shown_around]
            for side in (up, down)
        ]
        upstream, downstream = (side[:MOST_NEIGHBOURS] for side in nearest)
        tests = sorted(tests, key=lambda test: test.name)[:MOST_TESTS]
        last = self._history.last(
            [test.node for test in tests] + [other for other, _ in (*upstream, *downstream)]
        )
        return replace(
            shown,
            tests=self._tests(tests, last),
            upstream=tuple(_neighbour(graph, *near, last) for near in upstream),
            downstream=tuple(_neighbour(graph, *near, last) for near in downstream),
            reports=tuple(
                _report(graph.nodes[other], distance)
                for other, distance in down
                if graph.nodes[other].type == "exposure"
            ),
        )

    def _tests(
        self, tests: Sequence[GraphNode], last: dict[str, LastResult]
    ) -> tuple[NodeTest, ...]:
        now = datetime.now(UTC)
        nodes = [test.node for test in tests]
        failures = self._history.failures(nodes, now - MONTH, now - QUARTER) if nodes else {}
        none = Failures("", 0, None, 0, 0, None, None)
        found = []
        for test in tests:
            record = failures.get(test.node, none)
            found.append(
                NodeTest(
                    node=test.node,
                    name=test.name,
                    type=test.type,
                    description=test.description,
                    last=last.get(test.node),
                    results=record.results,
                    known_since=record.known_since,
                    failures_30=record.failures_30,
                    failures_90=record.failures_90,
                    failed_at=record.failed_at,
                    failed_run=record.failed_run or "",
                )
            )
        return tuple(sorted(found, key=lambda test: (-test.failures_90, test.name)))

    def _commits_of(self, sha: str, path: str) -> tuple[CommitLine, ...] | None:
        """git walks the history for it, so the answer is kept while the commit is live."""
        key = (sha, path)
        with self._guard:
            if key in self._touched:
                return self._touched[key]
        found = commits_touching(self._commits.history, sha, path, self._subdir, MOST_COMMITS)
        kept = None if found is None else tuple(found)
        with self._guard:
            self._touched = {
                known: value for known, value in self._touched.items() if known[0] == sha
            }
            self._touched[key] = kept
        return kept

    def _source(self, live: Commit, shown: ShownModel) -> tuple[str | None, str]:
        """The node's file without secrets, or None; and a note why there is none, or that it was
        cut."""
        tree = (live.folder / "tree").resolve()
        file = Path(live.project, shown.path).resolve()
        if not file.is_relative_to(tree):
            return None, "Its file is not in the repository's own folder."
        try:
            with file.open("rb") as opened:
                text = storable(opened.read(LONGEST_SOURCE + MORE).decode(errors="replace"))
        except OSError:
            return None, "Its file is not there."
        text = scrub(text)
        if shown.type == "seed":
            lines = text.splitlines()
            if len(lines) > SEED_LINES:
                return "\n".join(lines[:SEED_LINES]), f"Cut: the first {SEED_LINES} lines."
        if len(text) <= LONGEST_SOURCE:
            return text, ""
        return text[:LONGEST_SOURCE], f"Cut: the file has {file.stat().st_size} bytes."


_OF_A_MODEL = ("node", "name", "type", "materialized", "relation", "description", "path")


def _no_refresh(kind: str, materialized: str, keeps_rows: bool) -> NoRefresh | None:
    if kind == "snapshot":
        return NoRefresh.SNAPSHOT
    if kind not in ("model", "seed"):
        return NoRefresh.OTHER
    if materialized not in REFRESHABLE:
        return NOT_REFRESHABLE.get(materialized, NoRefresh.OTHER)
    return NoRefresh.KEPT if keeps_rows else None


def _levels(node: str, following: Callable[[str], Iterable[str]]) -> list[tuple[str, int]]:
    """What is reached from the node, with the least number of steps, the nearest first."""
    seen, found, level, distance = {node}, [], [node], 0
    while level:
        distance += 1
        new = [other for reached in level for other in following(reached)]
        level = [other for other in dict.fromkeys(new) if other not in seen]
        seen.update(level)
        found += [(other, distance) for other in sorted(level)]
    return found


def _neighbour(graph: Graph, node: str, distance: int, last: dict[str, LastResult]) -> Neighbour:
    found = graph.nodes[node]
    return Neighbour(node, found.name, found.type, distance, last.get(node))


def _report(exposure: GraphNode, distance: int) -> Report:
    return Report(
        node=exposure.node,
        label=exposure.label or exposure.name,
        url=exposure.url,
        owner=exposure.owner,
        direct=distance == 1,
    )
