"""The page `/runs/{run}`, made to be sent to a colleague, and `/runs/{run}/nodes/{node}`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from markupsafe import Markup
from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse

from mage_dbt.explain.excerpt import excerpt
from mage_dbt.identity.origin import READING
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.builds import BuildLedger
from mage_dbt.ledger.run_view import RowsWritten, RunView, StoryRun
from mage_dbt.model.explanation import Explanation
from mage_dbt.model.request import Cause, Operation
from mage_dbt.model.run import PASSED, Run, RunState
from mage_dbt.model.timeline import Timeline
from mage_dbt.server import runs as api
from mage_dbt.server.nodes import shown_node
from mage_dbt.server.pages import protection, run_live
from mage_dbt.server.pages.directions import isolated
from mage_dbt.server.pages.formats import Formats
from mage_dbt.server.pages.gantt import Gantt, gantt
from mage_dbt.server.pages.live import add as add_live
from mage_dbt.server.pages.run_words import run_words
from mage_dbt.server.pages.site import JSON_SUFFIX, Page, Site
from mage_dbt.server.pages.soon import Soon

NODES_SHOWN = 200
"""Passed nodes on one page."""

KEPT = 8
"""Finished runs of which is kept what is slow to read."""

MOST_IN_TABLE = 60
"""Bars in the table behind the timetable."""

MOST_CAUSES = 20
"""Causes with a card of their own."""

LONGEST_LIST = 100
"""Warnings or notes that are shown of each kind."""


@dataclass(frozen=True)
class Measured:
    """What is slow to read of a run, and does not change once it is over."""

    timeline: Timeline
    rows: RowsWritten | None
    """Of a full build; None for others."""
    usual_seconds: float | None
    """Of full builds before it; None for other runs."""
    drawings: dict[str, Gantt | None] = field(default_factory=dict)
    """By language."""

    def drawn(self, formats: Formats) -> Gantt | None:
        """The timetable as a drawing; None for a run in which nothing was executed."""
        if formats.language not in self.drawings:
            found = gantt(self.timeline, formats.zone, formats.duration)
            self.drawings[formats.language] = found
        return self.drawings[formats.language]


class Measurements:
    """Reads and keeps them."""

    def __init__(self, ledger: Ledger) -> None:
        self._view = RunView(ledger)
        self._builds = BuildLedger(ledger)
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, Measured] = OrderedDict()

    def of(self, run: Run) -> Measured:
        """Those of a run that is over."""
        with self._guard:
            if run.id in self._kept:
                self._kept.move_to_end(run.id)
                return self._kept[run.id]
        found = Measured(
            timeline=self._view.timeline(run.id),
            rows=self._view.rows_written(run) if run.is_full_build else None,
            usual_seconds=self._builds.usual_seconds(run.asked_at) if run.is_full_build else None,
        )
        with self._guard:
            self._kept[run.id] = found
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found


@dataclass(frozen=True)
class Rest:
    """What of a large run takes longer than a page may."""

    explanation: Explanation | None
    """None for a run in which nothing failed."""
    measured: Measured | None
    """None for a run that goes on."""


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""
    view = RunView(site.ledger)
    measurements = Measurements(site.ledger)
    soon = Soon[Rest]()

    def show(http: HttpRequest, run: str) -> Page:
        if http.url.path.endswith(JSON_SUFFIX):
            data = api.shown_run(run, site.runner, http)
            return Page("run.html", data | {"explanation": site.runner.explain(run).to_json()})
        found = view.run(run)
        values = _values(site, http, view, found)
        values["over"] = found.state.final
        if not found.state.final:
            values |= run_live.values(site, run) or {}
        rest = soon.of(found.id, lambda: read(found))
        values |= {"waits": True} if rest is None else _rest(site, http, rest, found)
        return Page("run.html", None, values)

    def read(run: Run) -> Rest:
        return Rest(
            site.runner.explain(run.id) if run.counts().keys() - PASSED else None,
            measurements.of(run) if run.state.final else None,
        )

    def update(http: HttpRequest, run: str) -> dict[str, Any]:
        found = view.run(run)
        return {
            "run": found,
            "run_id": found.id,
            "repair": _repair(found, view.story(found.id)),
            "most_causes": MOST_CAUSES,
            **_rest(site, http, read(found), found),
            "over": True,
        }

    def show_node(http: HttpRequest, run: str, node: str) -> Page:
        run_now = view.run(run)
        found = site.ledger.node(run, node.replace("\0", ""))
        data = shown_node(run, found, site.home.runs / run)
        pointed = excerpt(data["compiled_sql"] or "", data["message"])
        return Page(
            "run_node.html",
            data,
            {
                "run": run_now,
                "title": _title(site, run_now, site.formats(http)),
                "result": found.result,
                "marked": pointed.line if pointed else None,
                "started": found.started_at,
                "finished": found.finished_at,
            },
        )

    def in_mage(http: HttpRequest, run: str) -> RedirectResponse:
        address = api.mage_page(run, site.ledger, site.settings, site.home)
        return RedirectResponse(address, 307, protection.HEADERS)

    add_live(router, site, "/live/runs/{run}/rest", "run_rest.html", update)
    router.add_api_route("/runs/{run}/mage", in_mage, methods=[*READING], include_in_schema=False)
    site.page(router, "/runs/{run}/nodes/{node}", show_node)
    site.page(router, "/runs/{run}", show)


def _values(site: Site, http: HttpRequest, view: RunView, run: Run) -> dict[str, Any]:
    """What the page shows of any run."""
    formats = site.formats(http)
    after = _number(http.query_params.get("from", ""))
    story = view.story(run.id)
    root = story[0].run if story else run
    repair = _repair(run, story)
    failed = view.failed(run.id)
    counts = run.counts()
    passed_here = sum(number for status, number in counts.items() if status in PASSED)
    nodes, passed = sum(counts.values()), passed_here
    if len(story) > 1:
        nodes, passed = view.passed([chapter.run.id for chapter in story])
    return {
        "run": run,
        "run_id": run.id,
        "title": _title(site, run, formats),
        "repair": repair,
        "tag": "repaired" if repair else _tag(run),
        "story": _story(story, root, formats) if len(story) > 1 or run.state.final else [],
        "story_runs": [chapter.run for chapter in story if chapter.run.id != run.id],
        "nodes_in_all": max(nodes, root.planned_nodes if root.id == run.id else 0),
        "nodes_passed": passed,
        "failed": failed,
        "failed_in_all": sum(
            number
            for status, number in counts.items()
            if status not in ("success", "pass", "warn", "skipped")
        ),
        "skipped": view.skipped(run.id) if counts.get("skipped") else [],
        "others": view.others(run.id, after, NODES_SHOWN) if passed_here else [],
        "others_in_all": passed_here,
        "others_from": after,
        "others_shown": NODES_SHOWN,
        "longest_list": LONGEST_LIST,
        "most_causes": MOST_CAUSES,
        "may_rerun": run.state in (RunState.ERROR, RunState.CANCELLED)
        and run.operation is not Operation.UNDO_REFRESH
        and not repair,
    }


def _rest(site: Site, http: HttpRequest, rest: Rest, run: Run) -> dict[str, Any]:
    """What the page shows of that."""
    formats = site.formats(http)
    found = rest.measured
    drawing = found.drawn(formats) if found else None
    behind = sorted(
        drawing.bars if drawing else (),
        key=lambda bar: (bar.kind == "plain", -bar.bar.seconds),
    )[:MOST_IN_TABLE]
    rows = found.rows if found else None
    mean = sum(rows.before) / len(rows.before) if rows and rows.before else None
    return {
        "waits": False,
        "explanation": rest.explanation,
        "timeline": found.timeline if found else None,
        "gantt": drawing,
        "behind": sorted(behind, key=lambda bar: bar.bar.begun),
        "moment": lambda seconds: datetime.fromtimestamp(seconds, site.zone),
        "usual_seconds": found.usual_seconds if found else None,
        "rows": rows,
        "rows_mean": mean,
        "rows_change": (rows.rows / mean - 1) * 100 if rows and mean else None,
    }


def _title(site: Site, run: Run, formats: Formats) -> str:
    follows = site.ledger.heads([run.follows]) if run.follows else []
    return run_words(run, formats, follows[0] if follows else None)


def _repair(run: Run, story: Sequence[StoryRun]) -> Run | None:
    """The rerun that put the run right; None without one."""
    if run.state in (RunState.SUCCESS,) or not run.state.final:
        return None
    for chapter in story:
        later = chapter.run
        if later.asked_at > run.asked_at and later.state is RunState.SUCCESS:
            return later
    return None


def _tag(run: Run) -> str:
    return {
        RunState.SUCCESS: "success",
        RunState.ERROR: "error",
        RunState.CANCELLED: "grey",
    }.get(run.state, "amber")


def _story(story: Sequence[StoryRun], root: Run, formats: Formats) -> list[Markup]:
    """What happened, in order: `08:00 scheduled`, `08:04 failed (fct_orders)`, and the reruns."""
    gettext = formats.texts.gettext
    steps = []
    for chapter in story:
        run = chapter.run
        begun = _time(run.asked_at, root, formats)
        if run.id == root.id:
            text = {
                Cause.SCHEDULE: gettext("%(time)s began by schedule"),
                Cause.START: gettext("%(time)s began with the first start"),
            }.get(run.cause, gettext("%(time)s asked by %(who)s"))
            steps.append(Markup(text) % {"time": begun, "who": isolated(run.caller)})
        if run.finished_at is None:
            if run.id != root.id:
                text = gettext("%(time)s rerun by %(who)s goes on")
                steps.append(Markup(text) % {"time": begun, "who": isolated(run.caller)})
            continue
        values = {
            "time": _time(run.finished_at, root, formats),
            "who": isolated(run.caller),
            "commit": run.commit[:7],
            "nodes": isolated(formats.names(chapter.failed)),
        }
        steps.append(Markup(_ended(chapter, root, formats)) % values)
    return steps


def _ended(chapter: StoryRun, root: Run, formats: Formats) -> str:
    """The text of a run's end, with its places."""
    gettext = formats.texts.gettext
    run, rerun = chapter.run, chapter.run.id != root.id
    if run.state is RunState.SUCCESS:
        if rerun:
            return gettext("%(time)s put right by a rerun of %(who)s, commit %(commit)s")
        return gettext("%(time)s done, everything passed")
    if run.state is RunState.CANCELLED:
        return (
            gettext("%(time)s rerun by %(who)s was cancelled")
            if rerun
            else gettext("%(time)s cancelled")
        )
    if not chapter.failed:
        return gettext("%(time)s rerun by %(who)s failed") if rerun else gettext("%(time)s failed")
    return (
        gettext("%(time)s rerun by %(who)s failed (%(nodes)s)")
        if rerun
        else gettext("%(time)s failed (%(nodes)s)")
    )


def _time(moment: datetime, root: Run, formats: Formats) -> Markup:
    """The time by the clock; with the day where that is not the day of the first run."""
    local, first = moment.astimezone(formats.zone), root.asked_at.astimezone(formats.zone)
    shown = f"{local:%H:%M}"
    if local.date() != first.date():
        shown = f"{formats.day(moment)} {shown}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(), formats.exact(moment), shown
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
