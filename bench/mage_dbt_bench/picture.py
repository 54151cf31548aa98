"""The picture for the documents: one bar a contender, from the request to the SQL, as SVG.

Drawn by hand: a bar chart is fifty lines, and a plotting library would be the largest dependency.
The axis is logarithmic, because what is compared differs by a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

OURS = ("warm", "warm_api", "warm_mage", "cold")

LABELS = {
    "floor": "bare driver: connect + CREATE TABLE AS",
    "warm": "warm worker, called inside",
    "warm_api": "warm worker, through the HTTP API",
    "warm_mage": "warm worker, through a Mage pipeline",
    "cold": "cold worker, called inside",
    "cli": "dbt build --select …",
    "cli_tuned": "the same, every flag that helps",
    "cli_vars": "dbt build with changed --vars",
    "mage_dbt_block": "Mage's own dbt block",
    "airflow_cosmos": "Airflow + Cosmos",
    "dagster_dbt": "Dagster + dagster-dbt",
    "prefect_dbt": "Prefect + prefect-dbt",
}

WIDTH, LEFT, RIGHT, TOP = 860, 290, 110, 76
BAR, STEP = 18, 30
INK, FAINT, LINE = "#24292f", "#57606a", "#d0d7de"
OUR_COLOUR, THEIR_COLOUR, FLOOR_COLOUR = "#1a7f64", "#8c959f", "#c9d1d9"


def svg(report: Mapping[str, Any]) -> str:
    """The picture of one report."""
    bars = [(name, one["to_sql_s"]) for name, one in report["contenders"].items()]
    bars.sort(key=lambda bar: bar[1]["median"])
    low = 10 ** math.floor(math.log10(max(0.001, min(times["min"] for _, times in bars))))
    high = max(times["median"] for _, times in bars) * 1.15
    bottom = TOP + STEP * len(bars)

    def x(seconds: float) -> float:
        share = math.log10(max(seconds, low) / low) / math.log10(high / low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    height = bottom + 46
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="system-ui, -apple-system, Segoe UI, Roboto, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(24, 32, "From the request to the model's SQL", size=18, weight=600),
        _text(24, 54, _subtitle(report), colour=FAINT),
    ]
    tick = low
    while tick <= high:
        drawn.append(
            f'<line x1="{x(tick):.1f}" y1="{TOP - 6}" x2="{x(tick):.1f}" y2="{bottom}" '
            f'stroke="{LINE}"/>'
        )
        drawn.append(_text(x(tick), bottom + 18, f"{tick:g} s", colour=FAINT, anchor="middle"))
        tick *= 10
    for number, (name, times) in enumerate(bars):
        top = TOP + STEP * number + (STEP - BAR) / 2
        middle = top + BAR / 2 + 4.5
        colour = OUR_COLOUR if name in OURS else FLOOR_COLOUR if name == "floor" else THEIR_COLOUR
        weight = 600 if name in OURS else 400
        end = x(times["median"])
        drawn += [
            _text(LEFT - 12, middle, LABELS.get(name, name), anchor="end", weight=weight),
            f'<rect x="{LEFT}" y="{top}" width="{max(2.0, end - LEFT):.1f}" height="{BAR}" rx="3" '
            f'fill="{colour}"/>',
            f'<line x1="{x(times["min"]):.1f}" y1="{top + 3}" x2="{x(times["min"]):.1f}" '
            f'y2="{top + BAR - 3}" stroke="#ffffff" stroke-width="1.5"/>',
            _text(max(end, LEFT + 2) + 8, middle, _said(times["median"]), weight=weight),
        ]
    drawn.append(
        _text(24, height - 10, "Logarithmic. Bars: median; white mark: the fastest.", colour=FAINT)
    )
    return "\n".join([*drawn, "</svg>"]) + "\n"


def _subtitle(report: Mapping[str, Any]) -> str:
    machine = report["machine"]
    return (
        f"One model of {report['models']:,} and its two tests, {report['repeats']} rounds in turn; "
        f"dbt {report['versions']['dbt-core']}, {machine['cores']} cores"
    )


def _said(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 13,
    colour: str = INK,
    anchor: str = "start",
    weight: int = 400,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
    )
