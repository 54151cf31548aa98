"""The figures of full refreshes, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from mage_dbt_bench.refresh.by_hand import Things
from mage_dbt_bench.results import spread

STOCK = "stock"
"""Ratios of seconds are given against it."""

TROUBLES_KEPT = 5
"""Of each contender's rounds: the first, as examples."""


@dataclass(frozen=True)
class Round:
    """One full refresh under readers."""

    seconds: float
    after_create: float | None
    """From its CREATE TABLE to its end; None where the server's log does not show it."""
    lock: float
    """Seconds in which readers were locked out, the longest time, as the server showed it."""
    own_lock: float | None
    """The same, as the contender says."""
    compare: float | None
    wait: float
    """The longest of a reader's."""
    reads: int
    errors: int
    wrong: int
    lost: Things
    troubles: Sequence[str] = ()


@dataclass
class Measured:
    """One contender's rounds."""

    what: str
    rounds: list[Round] = field(default_factory=list)
    beside_old: list[Round] = field(default_factory=list)
    """Those beside dumps, cursors and transactions that are older than the refresh."""

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"what": self.what, **_together(self.rounds)}
        if self.beside_old:
            data["beside_old"] = _together(self.beside_old)
        return data


def to_json(
    measured: Mapping[str, Measured], about: Mapping[str, Any], left_out: Mapping[str, str]
) -> dict[str, Any]:
    """The whole report; `about` stands at its top."""
    found = {name: rounds.to_json() for name, rounds in measured.items() if rounds.rounds}
    if STOCK in found:
        base = found[STOCK]["seconds"]["median"]
        for data in found.values():
            data[f"times_{STOCK}"] = round(data["seconds"]["median"] / base, 2)
    return {**about, "contenders": found, "left_out": dict(left_out)}


def table(report: Mapping[str, Any]) -> list[str]:
    """The report for a terminal."""
    contenders = report["contenders"]
    lines = [f"A full refresh of {report['rows']:,} rows, {report['rounds']} rounds", ""]
    lines += _lines(contenders, f"times_{STOCK}")
    beside = {name: data["beside_old"] for name, data in contenders.items() if "beside_old" in data}
    if beside:
        lines += ["", "Beside pg_dump, open cursors and transactions older than the refresh", ""]
        lines += _lines(beside, "")
    for data, where in ((contenders, ""), (beside, ", beside old transactions")):
        for name, figures in data.items():
            lines += (f"{name}{where}: {text.splitlines()[0]}" for text in figures["troubles"][:1])
    lines += (f"{name}: left out, {why}" for name, why in report["left_out"].items())
    return lines


def _lines(contenders: Mapping[str, Mapping[str, Any]], ratio: str) -> Iterable[str]:
    heads = ["", "seconds: min", "median", "× stock", "after CREATE", "locked", "longest wait"]
    rows = [[*heads, *COUNTED, *(f"{name} lost" for name in vars(Things()))]]
    for name, data in contenders.items():
        seconds, lost = data["seconds"], data["lost"]
        row = [name, f"{seconds['min']:.2f}", f"{seconds['median']:.2f}"]
        row.append(f"{data[ratio]:.2f}" if ratio in data else "")
        row += (_optional(data[key]) for key in ("after_create_s", "locked_s", "longest_wait_s"))
        rows.append([*row, *(str(data[key]) for key in COUNTED), *map(str, lost.values())])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for first, *others in rows:
        cells = (text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
        yield "  ".join([first.ljust(widths[0]), *cells]).rstrip()


COUNTED = ("reads", "errors", "wrong")


def _together(rounds: Sequence[Round]) -> dict[str, Any]:
    """Of all rounds: medians of seconds, the longest of locks and waits, sums of what was counted.
    Things lost are of the worst round: each begins with all of them."""
    seconds = [found.seconds for found in rounds]
    after = [found.after_create for found in rounds if found.after_create is not None]
    own = [found.own_lock for found in rounds if found.own_lock is not None]
    compare = [found.compare for found in rounds if found.compare is not None]
    troubles = [text for found in rounds for text in found.troubles]
    return {
        "seconds": spread(seconds) | {"all": [round(value, 2) for value in seconds]},
        "after_create_s": round(median(after), 3) if after else None,
        "locked_s": round(max(found.lock for found in rounds), 4),
        "own_lock_s": round(max(own), 4) if own else None,
        "compare_s": round(median(compare), 3) if compare else None,
        "longest_wait_s": round(max(found.wait for found in rounds), 4),
        **{key: sum(getattr(found, key) for found in rounds) for key in COUNTED},
        "lost": {key: max(getattr(found.lost, key) for found in rounds) for key in vars(Things())},
        "troubles": troubles[:TROUBLES_KEPT],
    }


def _optional(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
