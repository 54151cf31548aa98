"""The sentences of the first page: how the daily build stands, for people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from gettext import NullTranslations

from mage_dbt.model.failure import FailureClass
from mage_dbt.model.now import Colour, Now, NowState
from mage_dbt.model.plain_words import plain_words
from mage_dbt.model.request import Cause
from mage_dbt.model.survey import ColumnsChanged
from mage_dbt.server.pages.formats import Formats

NOON = 12

MOST_NAMED = 3
"""New models in a sentence."""


@dataclass(frozen=True)
class NowWords:
    """What the first page says of one Now, in the reader's language."""

    title: str
    """For the browser's tab: the colour first."""
    headline: str
    stale: str
    """How much still shows an earlier state; empty when nothing does, or that is not known."""
    needs_a_commit: bool
    """Whether the first cause is code that only another commit can repair."""
    others: str
    """How much passed; empty where that says nothing."""
    next_build: str
    gone: str
    """That what failed first is no longer in the live version; empty where it is."""
    new: str
    """Which models of the live version have not been built yet; empty without any."""
    waits_for: str
    """For whom the build or its rerun waits, in the ledger's words; empty where none waits."""


def words(now: Now, formats: Formats, mornings: bool) -> NowWords:
    """The sentences; `mornings`: the daily build begins before noon."""
    return NowWords(
        title=_title(now, formats.texts),
        headline=_headline(now, formats, mornings),
        stale=_stale(now, formats),
        needs_a_commit=_needs_a_commit(now),
        others=_others(now, formats.texts),
        next_build=_next_build(now, formats),
        gone=_gone(now, formats.texts),
        new=_new(now, formats),
        waits_for=_waits_for(now),
    )


def columns_words(changed: ColumnsChanged, texts: NullTranslations) -> list[str]:
    """How a table's columns differ from its model's, a sentence each."""
    added = sum(not column.before for column in changed.columns)
    removed = sum(not column.after for column in changed.columns)
    others = len(changed.columns) - added - removed
    found = []
    if added:
        found.append(
            texts.ngettext(
                "%(num)s column is in the model and not in the table",
                "%(num)s columns are in the model and not in the table",
                added,
            )
            % {"num": added}
        )
    if removed:
        found.append(
            texts.ngettext(
                "%(num)s column is in the table and not in the model",
                "%(num)s columns are in the table and not in the model",
                removed,
            )
            % {"num": removed}
        )
    if others:
        found.append(
            texts.ngettext(
                "%(num)s column has another type",
                "%(num)s columns have other types",
                others,
            )
            % {"num": others}
        )
    return found


def _title(now: Now, texts: NullTranslations) -> str:
    colours = {
        Colour.RED: texts.gettext("Red"),
        Colour.AMBER: texts.gettext("Amber"),
        Colour.GREEN: texts.gettext("Green"),
        Colour.GREY: texts.gettext("Grey"),
    }
    return f"● {colours.get(now.colour, now.colour)}"


def _headline(now: Now, formats: Formats, mornings: bool) -> str:
    texts = formats.texts
    build = _build(now, formats, mornings)
    values = {"build": build, "done": now.passed, "all": now.nodes, "when": _when(now, formats)}
    state = now.state
    if state is NowState.NOTHING_READY:
        return (
            texts.gettext("The first version of dbt-metric is being made ready.")
            if now.preparing
            else texts.gettext("No version of dbt-metric is ready, so nothing can be built.")
        )
    if state is NowState.NEVER_BUILT:
        return texts.gettext("Nothing has been built yet.")
    if state is NowState.WAITING:
        return (
            texts.gettext("%(build)s waits for its turn.")
            if now.detail
            else texts.gettext("%(build)s is about to begin.")
        ) % values
    if state in (NowState.RUNNING, NowState.FAILING):
        return _running(now, values, texts)
    if state is NowState.RERUNNING:
        return _rerunning(now, values, texts)
    if state is NowState.MISSED and now.missed_at:
        due = formats.clock(now.missed_at)
        return texts.gettext("The daily build of %(time)s has not begun.") % {"time": due}
    sentences = {
        NowState.FAILED: texts.gettext("%(build)s failed %(when)s."),
        NowState.REPAIRED: texts.gettext("%(build)s had failed. Everything is whole again."),
        NowState.PASSED: texts.gettext("%(build)s passed %(when)s."),
        NowState.CANCELLED: texts.gettext("%(build)s was cancelled %(when)s."),
    }
    return sentences.get(state, "%(build)s") % values


def _running(now: Now, values: dict[str, object], texts: NullTranslations) -> str:
    own = now.progress_of(now.build or "")
    values = {**values, "done": own.done if own else now.passed}
    if now.state is NowState.FAILING:
        failed = own.failed if own else 1
        return texts.ngettext(
            "%(build)s goes on, and %(num)s of its steps has failed.",
            "%(build)s goes on, and %(num)s of its steps have failed.",
            failed,
        ) % {**values, "num": failed}
    if not now.nodes or own is None:
        return texts.gettext("%(build)s is about to begin.") % values
    return texts.gettext("%(build)s is running: %(done)s of %(all)s steps are done.") % values


def _rerunning(now: Now, values: dict[str, object], texts: NullTranslations) -> str:
    rerun = now.progress_of(now.rerunning)
    if rerun is not None and rerun.waits and rerun.detail:
        return texts.gettext("%(build)s failed, and what failed waits to run again.") % values
    if rerun is None or not rerun.planned:
        return texts.gettext("%(build)s failed, and what failed is about to run again.") % values
    return texts.gettext(
        "%(build)s failed, and what failed is running again: %(done)s of %(all)s steps are done."
    ) % {**values, "done": rerun.done, "all": rerun.planned}


def _waits_for(now: Now) -> str:
    if now.state is NowState.WAITING:
        return now.detail
    rerun = now.progress_of(now.rerunning) if now.rerunning else None
    return rerun.detail if rerun is not None and rerun.waits else ""


def _build(now: Now, formats: Formats, mornings: bool) -> str:
    """The build in a sentence; in Korean each of these ends in the same word."""
    texts = formats.texts
    if now.day is None and now.cause == Cause.START:
        return texts.gettext("The build at the start of the workspace")
    if now.day is None:
        return texts.gettext("The build that %(who)s asked for") % {"who": now.caller}
    day = date.fromisoformat(now.day)
    if day != formats.now.astimezone(formats.zone).date():
        shown = formats.day(now.day)
        return texts.gettext("The build of %(day)s") % {"day": shown}
    return texts.gettext("This morning’s build") if mornings else texts.gettext("Today’s build")


def _when(now: Now, formats: Formats) -> str:
    if now.ended_at is None:
        return ""
    local = now.ended_at.astimezone(formats.zone)
    shown = f"{local:%H:%M}"
    if local.date() == (
        date.fromisoformat(now.day) if now.day else formats.now.astimezone(formats.zone).date()
    ):
        return formats.texts.gettext("at %(time)s") % {"time": shown}
    return formats.texts.gettext("on %(day)s at %(time)s") % {
        "day": formats.day(local),
        "time": shown,
    }


def _stale(now: Now, formats: Formats) -> str:
    causes = now.explanation.causes if now.explanation else ()
    found = {stale.node: stale.as_of for cause in causes for stale in cause.stale}
    if not found:
        return ""
    yesterday = formats.now.astimezone(formats.zone).date() - timedelta(days=1)
    of_yesterday = all(
        as_of and as_of.astimezone(formats.zone).date() == yesterday for as_of in found.values()
    )
    texts = formats.texts
    if of_yesterday:
        text = texts.ngettext(
            "%(num)s table still shows yesterday.",
            "%(num)s tables still show yesterday.",
            len(found),
        )
    else:
        text = texts.ngettext(
            "%(num)s table is not up to date.", "%(num)s tables are not up to date.", len(found)
        )
    return text % {"num": formats.number(len(found))}


def _needs_a_commit(now: Now) -> bool:
    first = now.explanation.causes[0] if now.explanation and now.explanation.causes else None
    return (
        first is not None
        and first.failure_class is FailureClass.CODE
        and plain_words(first).by_commit
    )


def _others(now: Now, texts: NullTranslations) -> str:
    values = {"passed": now.passed, "all": now.nodes}
    if now.state is NowState.REPAIRED and now.gone:
        return texts.ngettext(
            "%(num)s of its %(all)s steps is no longer in the live version.",
            "%(num)s of its %(all)s steps are no longer in the live version.",
            now.gone,
        ) % {**values, "num": now.gone}
    if now.state in (NowState.PASSED, NowState.REPAIRED) and now.nodes:
        return (
            texts.ngettext("Its one step passed.", "All its %(all)s steps passed.", now.nodes)
            % values
        )
    if now.state in (NowState.FAILED, NowState.CANCELLED, NowState.RERUNNING) and now.passed:
        return texts.gettext("Everything else (%(passed)s of %(all)s) passed.") % values
    return ""


def _gone(now: Now, texts: NullTranslations) -> str:
    first = now.explanation.causes[0] if now.explanation and now.explanation.causes else None
    if first is None or not first.nodes or not all(node.gone for node in first.nodes):
        return ""
    return texts.gettext("It is no longer in the live version, so nothing of it runs again.")


def _new(now: Now, formats: Formats) -> str:
    if not now.new:
        return ""
    return formats.texts.ngettext(
        "%(num)s model of the live version has not been built yet: %(names)s.",
        "%(num)s models of the live version have not been built yet: %(names)s.",
        len(now.new),
    ) % {"num": formats.number(len(now.new)), "names": formats.names(now.new, MOST_NAMED)}


def _next_build(now: Now, formats: Formats) -> str:
    texts = formats.texts
    if now.next_build is None:
        return texts.gettext("The daily build is paused until somebody ends the pause.")
    values = {
        "time": formats.clock(now.next_build),
        "zone": formats.zone_short,
        "seconds": formats.duration(now.usual_seconds),
    }
    if now.next_build_paused:
        return texts.gettext(
            "The daily build is paused; the next one begins %(time)s %(zone)s."
        ) % (values)
    if now.usual_seconds is None:
        return texts.gettext("The next build begins %(time)s %(zone)s.") % values
    return (
        texts.gettext("The next build begins %(time)s %(zone)s and usually takes %(seconds)s.")
        % values
    )
