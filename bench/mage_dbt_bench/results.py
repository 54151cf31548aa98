"""What was measured, as plain data and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from mage_dbt_bench.contender import Contender

AGAINST = ("warm", "cli")
"""Ratios of the time to SQL are given against these, where they were measured."""


@dataclass
class Measured:
    """One contender's figures; seconds."""

    what: str
    to_sql: list[float] = field(default_factory=list)
    """From the request to the model's CREATE in PostgreSQL's log."""
    wall: list[float] = field(default_factory=list)
    """From the request to the end of the model's tests."""
    cpu: list[float] = field(default_factory=list)
    full_build: list[float] = field(default_factory=list)
    full_build_cpu: list[float] = field(default_factory=list)
    full_build_left_out: str = ""
    memory: dict[str, float] = field(default_factory=dict)
    """Megabytes of PSS at the full build's peak."""

    @classmethod
    def of(cls, contender: Contender) -> Measured:
        return cls(what=contender.what, full_build_left_out=contender.builds_all)

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "what": self.what,
            "to_sql_s": {**spread(self.to_sql), "all": _rounded(self.to_sql)},
            "wall_s": spread(self.wall),
            "cpu_s": round(median(self.cpu), 3),
        }
        if self.full_build:
            told |= {
                "full_build_s": round(median(self.full_build), 2),
                "full_build_cpu_s": round(median(self.full_build_cpu), 2),
                "full_build_pss_mb": self.memory,
            }
        elif self.full_build_left_out:
            told["full_build_left_out"] = self.full_build_left_out
        return told


def to_json(
    measured: Mapping[str, Measured], about: Mapping[str, Any], left_out: Mapping[str, str]
) -> dict[str, Any]:
    """The whole report; `about` stands at its top."""
    contenders = {name: one.to_json() for name, one in measured.items()}
    for against in AGAINST:
        if against in measured:
            base = median(measured[against].to_sql)
            for name, one in measured.items():
                contenders[name][f"times_{against}"] = float(f"{median(one.to_sql) / base:.3g}")
    return {**about, "contenders": contenders, "left_out": dict(left_out)}


def table(report: Mapping[str, Any]) -> list[str]:
    """The report for a terminal."""
    rows = [("", "to SQL: min", "median", "× warm", "CPU", "all of it", "its CPU")]
    for name, one in report["contenders"].items():
        rows.append(
            (
                name,
                _seconds(one["to_sql_s"]["min"]),
                _seconds(one["to_sql_s"]["median"]),
                f"{one['times_warm']:.1f}" if "times_warm" in one else "",
                _seconds(one["cpu_s"]),
                _seconds(one.get("full_build_s")),
                _seconds(one.get("full_build_cpu_s")),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(_cells(row, widths)).rstrip() for row in rows]
    lines += (f"{name}: left out, {why}" for name, why in report["left_out"].items())
    if commit := report.get("new_commit"):
        lines += ["", "A new commit, seconds: least and median"]
        width = max(map(len, commit))
        lines += (
            f"{name.ljust(width)}  {one['min']:7.3f}  {one['median']:7.3f}"
            for name, one in commit.items()
            if isinstance(one, dict)
        )
    return lines


def _cells(row: Iterable[str], widths: Iterable[int]) -> Iterable[str]:
    for number, (text, width) in enumerate(zip(row, widths, strict=True)):
        yield text.rjust(width) if number else text.ljust(width)


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def spread(values: list[float]) -> dict[str, float]:
    """Seconds: least and median."""
    return {"min": round(min(values), 4), "median": round(median(values), 4)}


def _rounded(values: list[float]) -> list[float]:
    return [round(one, 4) for one in values]
