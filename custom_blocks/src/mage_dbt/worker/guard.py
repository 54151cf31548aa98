"""What a run's drops take along: told before it waits, asked again at its turn, refused where the
one who asked may not drop it.

While a run waits for its turn anybody may make a view on what it is about to drop. So the answer
that counts is the one at its turn; and for a full refresh that must keep such views, the one inside
dbt's own transaction, where the server has locked the relation and nobody can make another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dbt_common.exceptions import DbtDatabaseError, DbtRuntimeError

from mage_dbt.redaction import scrub
from mage_dbt.warehouse import ANY, Lost, Target, Warehouse, warehouse_of

SELECT_THEM = (
    "Select the models among them too (`with_downstream` in Mage, else `model+`). For what is no "
    "model of dbt-metric ask an operator."
)


class Guard:
    """Of one job. `keeps` says whether what would be lost refuses it."""

    def __init__(
        self,
        warehouse: Warehouse,
        targets: Sequence[Target],
        keeps: bool,
        label: Callable[[str], str],
        after: Callable[[str, str], bool],
    ) -> None:
        """`label` names a node by its unique id; `after` says whether dbt builds the first node
        after the second."""
        self._warehouse = warehouse
        self._label = label
        self._after = after
        self._targets = targets
        self._told: frozenset[str] = frozenset()
        self.keeps = keeps

    def look(self) -> Lost:
        """What is lost if the run begins now."""
        try:
            return self._warehouse.lost(self._targets)
        except DbtDatabaseError as error:
            return Lost(unknown=f"the warehouse does not tell ({scrub(str(error).strip())})")

    def refusal(self, lost: Lost) -> str:
        """Why the run is refused; empty when it is not."""
        if not self.keeps:
            return ""
        if lost.objects:
            names = ", ".join(lost.objects)
            return f"This full refresh would drop what it does not rebuild: {names}."
        if lost.unknown:
            return f"What this full refresh would drop along cannot be told: {lost.unknown}."
        return ""

    def news(self, lost: Lost) -> list[str]:
        """Sentences on what is lost, each only once."""
        sentences = [
            f"The {one} is dropped along and not rebuilt by this run." for one in lost.objects
        ]
        sentences += [
            f"{self._label(reader)} reads {self._label(dropped)} and has no `ref` to it: built "
            "before it, it is dropped along."
            for reader, dropped in lost.read
            if not self._after(reader, dropped)
        ]
        if lost.unknown:
            sentences.append(f"What is dropped along cannot be told: {lost.unknown}.")
        new = [one for one in sentences if one not in self._told]
        self._told |= {*new}
        return new

    def watch(self, adapter: Any) -> None:
        """From now on dbt drops nothing in this process, through its PostgreSQL adapter, that takes
        along what the run does not rebuild: the node fails instead, and its transaction with it."""
        if not self.keeps or adapter.type() != "postgres":
            return
        rename, drop = adapter.rename_relation, adapter.drop_relation
        here = warehouse_of(adapter.type(), lambda sql: rows(adapter, sql))
        rebuilt = [replace(one, drops=frozenset(), builds_aside=False) for one in self._targets]

        def refuse(relation: Any) -> None:
            dropped = Target("", str(relation), ANY)
            if why := self.refusal(here.lost([dropped, *rebuilt])):
                raise DbtRuntimeError(f"{why} {SELECT_THEM}")

        def rename_relation(old: Any, new: Any) -> Any:
            done = rename(old, new)
            if str(new.identifier).endswith("__dbt_backup"):
                refuse(new)  # the renaming has locked it
            return done

        def drop_relation(relation: Any) -> Any:
            if relation.is_table and adapter.connections.get_thread_connection().transaction_open:
                adapter.execute(f"lock table {relation} in access exclusive mode")
            refuse(relation)
            return drop(relation)

        adapter.rename_relation, adapter.drop_relation = rename_relation, drop_relation


def rows(adapter: Any, sql: str) -> list[dict[str, Any]]:
    """The statement's rows, over the connection that dbt has in this thread."""
    _, table = adapter.execute(sql, fetch=True)
    return [dict(zip(table.column_names, row.values(), strict=True)) for row in table.rows]
