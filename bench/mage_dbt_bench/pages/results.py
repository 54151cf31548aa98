"""What was measured of the pages, as plain data and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean, median, quantiles
from typing import Any

LIMIT_MS = 200.0
"""What a page may take."""


@dataclass
class Measured:
    """One address; seconds."""

    path: str
    first: float
    """Of the first request ever: nothing of it is kept yet."""
    size: int
    """Bytes as sent."""
    plans: bool
    """Whether it waits until dbt has made a plan."""
    again: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Of the runner and PostgreSQL, in steps of 10 ms: only the mean of many says something."""

    def to_json(self) -> dict[str, Any]:
        p95 = quantiles(self.again, n=20, method="inclusive")[-1]
        return {
            "path": self.path,
            "first_ms": round(self.first * 1000, 1),
            "min_ms": round(min(self.again) * 1000, 1),
            "median_ms": round(median(self.again) * 1000, 1),
            "p95_ms": round(p95 * 1000, 1),
            "cpu_ms": round(mean(self.cpu) * 1000, 1),
            "kb": round(self.size / 1000, 1),
            "plans": self.plans,
        }


def table(report: Mapping[str, Any]) -> list[str]:
    """The report for a terminal."""
    heads = ("ms:", "first", "min", "median", "p95", "CPU", "kB")
    rows = [heads]
    for name, page in report["pages"].items():
        keys = ("first_ms", "min_ms", "median_ms", "p95_ms", "cpu_ms", "kb")
        slow = page["median_ms"] > LIMIT_MS or page["first_ms"] > LIMIT_MS
        mark = " (dbt plans)" if page["plans"] else f" (over {LIMIT_MS:.0f})" if slow else ""
        rows.append((name + mark, *(f"{page[key]:.1f}" for key in keys)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        f"{report['models']:,} models, {report['runs']:,} runs, the largest of"
        f" {report['nodes']:,} nodes",
        "",
    ]
    for first, *others in rows:
        cells = (text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    for name in ("first_page_kb", "followed", "picker_ms"):
        if name in report:
            lines += ["", f"{name}: " + ", ".join(f"{k} {v}" for k, v in report[name].items())]
    return lines
