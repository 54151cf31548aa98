"""How values are written for people: times, durations, numbers, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from gettext import NullTranslations
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_time, get_timezone_name
from babel.numbers import format_decimal
from markupsafe import Markup, escape

from mage_dbt.base.clock import Clock
from mage_dbt.base.lists import MOST_NAMED
from mage_dbt.model.explanation import Cause, Explanation
from mage_dbt.model.plain_words import advice, names_in, plain_words
from mage_dbt.server.pages import sentences
from mage_dbt.server.pages.directions import isolated

MINUTE, HOUR, DAY = 60, 3600, 86_400

UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Formats:
    """Writes values in one language, in the team's zone."""

    language: str
    zone: ZoneInfo
    now: datetime
    texts: NullTranslations

    def sentence(self, cause: Cause, link: str = "") -> Markup:
        """What happened, for people, with the names in bold; `link` leads to what failed."""
        text = self.texts.gettext(plain_words(cause).sentence)
        names = {
            at: Markup("<b>{}</b>").format(isolated(name)) for at, name in names_in(cause).items()
        }
        if link and "name" in names:
            names["name"] = Markup('<a href="{}">{}</a>').format(link, names["name"])
        return escape(text) % names

    def advice(self, cause: Cause) -> str:
        """What to do about it."""
        return self.texts.gettext(advice(cause))

    def ours(self, text: object) -> Markup:
        """A finished text of the workspace's own making in the reader's language, without the
        words of others that it quotes."""
        return sentences.translated(self.language, str(text), sentences.Maker.WORKSPACE)

    def anybodys(self, text: object) -> Markup:
        """The same for a text that may also be a message of the database or of dbt."""
        return sentences.translated(self.language, str(text))

    def causes(self, explanation: Explanation) -> str:
        """`1 cause, 14 models wait`."""
        found, texts = explanation.causes, self.texts
        text = texts.ngettext("%(num)s cause", "%(num)s causes", len(found)) % {"num": len(found)}
        failed = {node.node for cause in found for node in cause.nodes}
        waiting = {stale.node for cause in found for stale in cause.stale} - failed
        if not waiting:
            return text
        return texts.ngettext(
            "%(causes)s, %(num)s model waits", "%(causes)s, %(num)s models wait", len(waiting)
        ) % {"causes": text, "num": self.number(len(waiting))}

    @property
    def zone_name(self) -> str:
        """`Korean Standard Time`; `Central European Time` where clocks change."""
        name = get_timezone_name(self.zone, locale=self._locale, width="long")
        if self._clocks_change or "GMT" in (now := self._name_now):
            return name
        return now

    @property
    def _clocks_change(self) -> bool:
        year = self.now.year
        offsets = {datetime(year, month, 1, tzinfo=self.zone).utcoffset() for month in range(1, 13)}
        return len(offsets) > 1

    @property
    def _name_now(self) -> str:
        local = self.now.astimezone(self.zone)
        return get_timezone_name(local, locale=self._locale, width="long")

    @property
    def zone_short(self) -> str:
        """`KST`."""
        return self.now.astimezone(self.zone).strftime("%Z")

    def exact(self, moment: datetime) -> str:
        """`2026-11-28 08:04:11 KST`."""
        return Clock(self.zone).say_in_full(moment)

    def clock(self, moment: datetime) -> str:
        """`08:04` today, `yesterday 08:04`, `Thu 26 Nov 08:04` on another day."""
        local, today = moment.astimezone(self.zone), self.now.astimezone(self.zone).date()
        time = format_time(local, "HH:mm", locale=self._locale)
        days = (today - local.date()).days
        if days == 0:
            return time
        if days == 1:
            return self.texts.gettext("yesterday %(time)s") % {"time": time}
        if days == -1:
            return self.texts.gettext("tomorrow %(time)s") % {"time": time}
        return f"{self.day(local)} {time}"

    def day(self, moment: datetime | str) -> str:
        """`Thu 26 Nov`; with the year when it is another one. A text is a local date, ISO 8601."""
        moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        local = moment.astimezone(self.zone) if moment.tzinfo else moment
        same = local.year == self.now.astimezone(self.zone).year
        korean = self._locale.language == "ko"
        form = "MMM d일 (EEE)" if korean else "EEE d MMM"
        if not same:
            form = f"y년 {form}" if korean else f"{form} y"
        return format_date(local, form, locale=self._locale)

    def when(self, moment: datetime | None) -> Markup | str:
        """The time by the clock; how long ago, and the exact time, when one points at it."""
        if moment is None:
            return "–"
        return Markup('<time datetime="{}" title="{} · {}">{}</time>').format(
            moment.isoformat(), self.exact(moment), self.ago(moment), self.clock(moment)
        )

    def ago(self, moment: datetime) -> str:
        """`3 min ago`, `in 12 s`."""
        seconds = (self.now - moment).total_seconds()
        text = (
            self.texts.gettext("%(time)s ago")
            if seconds >= 0
            else self.texts.gettext("in %(time)s")
        )
        return text % {"time": self.duration(abs(seconds), rough=True)}

    def duration(self, seconds: float | None, rough: bool = False) -> str:
        """`0.2 s`, `12 s`, `4 min 12 s`, `2 h 5 min`; `rough` leaves the smaller unit out."""
        if seconds is None:
            return "–"
        if seconds < 9.95 and not rough:
            return self._joined((self.number(round(seconds, 1)), self.texts.gettext("s")))
        whole = max(round(seconds), 0)
        parts = []
        for size, unit in (
            (DAY, self.texts.gettext("d")),
            (HOUR, self.texts.gettext("h")),
            (MINUTE, self.texts.gettext("min")),
            (1, self.texts.gettext("s")),
        ):
            if whole >= size:
                parts.append(self._joined((str(whole // size), unit)))
                whole %= size
        shown = parts[: 1 if rough else 2]
        return " ".join(shown) or self._joined(("0", self.texts.gettext("s")))

    def number(self, value: float | None) -> str:
        return "–" if value is None else _number(value, self.language)

    def names(self, names: Sequence[str], most: int = MOST_NAMED) -> str:
        """`a, b, c and 45 more`."""
        shown = ", ".join(names[:most])
        more = len(names) - most
        if more <= 0:
            return shown
        return self.texts.ngettext(
            "%(names)s and %(num)s more", "%(names)s and %(num)s more", more
        ) % {"names": shown, "num": more}

    def short(self, sha: str) -> str:
        """The beginning of a commit's SHA."""
        return sha[:7]

    def size(self, count: float | None) -> str:
        """Bytes as `1.2 GB`."""
        if count is None:
            return "–"
        value, unit = float(count), UNITS[0]
        for unit in UNITS:
            if value < 1000 or unit == UNITS[-1]:
                break
            value /= 1000
        return f"{self.number(round(value, 1 if value < 10 else 0))} {unit}"

    def _joined(self, parts: tuple[str, str]) -> str:
        """A number and its unit, which Korean writes without a space."""
        return ("" if self._locale.language == "ko" else " ").join(parts)

    @property
    def _locale(self) -> Locale:
        return _locale(self.language)


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(language)


@lru_cache(10_000)
def _number(value: float, language: str) -> str:
    """A page may show hundreds, and Babel takes 0.1 ms for each."""
    return format_decimal(value, locale=_locale(language))
