"""Rows of failing tests that runs have kept, and which of them are new since the failure before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mage_dbt.ledger.ledger import Ledger
from mage_dbt.model import codec
from mage_dbt.model.explanation import FailingRows

OF_RUN = """
select distinct on (data ->> 'node') data
from ledger.event
where run = %s and kind = 'failing_rows' and data ? 'node'
order by data ->> 'node', seq desc
"""

BEFORE = """
select found.data
from unnest(%(nodes)s::text[]) as wanted (node)
cross join lateral (
    select event.data
    from ledger.node_result
    join ledger.run on run.id = node_result.run and run.target = %(target)s
    join ledger.event on event.run = node_result.run and event.kind = 'failing_rows'
        and event.data ->> 'node' = wanted.node
    where node_result.node = wanted.node and node_result.at < %(before)s
        and node_result.status in ('fail', 'warn')
    order by node_result.at desc, event.seq desc
    limit 1
) as found
"""


@dataclass(frozen=True)
class KeptRows:
    """What a run has kept of one failing test."""

    rows: FailingRows
    digests: tuple[str, ...]
    """Of each row that was read, those that are shown first."""

    def since(self, before: KeptRows | None) -> FailingRows:
        """The rows, each with whether it is new since the test failed `before`.

        Where not all rows were read then, one that is not among them may be old.
        """
        if before is None:
            return self.rows
        known, other = set(before.digests), None if before.cut else True
        marked = tuple(
            replace(row, new=False if digest in known else other)
            for row, digest in zip(self.rows.rows, self.digests, strict=False)
        )
        return replace(self.rows, rows=marked)

    @property
    def cut(self) -> bool:
        """Whether the test found rows that were not read."""
        total = self.rows.total
        return total is None or total > len(self.digests)


class FailingRowsOfRuns:
    """Reads them from the ledger. Every method raises LedgerUnreachable as the ledger does."""

    def __init__(self, ledger: Ledger) -> None:
        self._rows = ledger.rows

    def of_run(self, run: str) -> dict[str, KeptRows]:
        """By unique id of the test, what the run has kept."""
        return _kept(self._rows(OF_RUN, [run]))

    def before(self, nodes: Sequence[str], target: str, moment: datetime) -> dict[str, KeptRows]:
        """By unique id, what was kept of each test when it last failed before that time."""
        values = {"nodes": list(nodes), "target": target, "before": moment}
        return _kept(self._rows(BEFORE, values))


def _kept(found: Sequence[Mapping[str, Any]]) -> dict[str, KeptRows]:
    kept = {}
    for row in found:
        data = dict(row["data"])
        digests = tuple(data.pop("digests", ()))
        data.pop("name", None)
        kept[data["node"]] = KeptRows(codec.read(FailingRows, data), digests)
    return kept
