"""What goes into the ledger is text that PostgreSQL can hold, whatever a model or commit brings."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.json import set_json_dumps
from psycopg.types.string import StrDumperUnknown

from mage_dbt.text import storable, storable_json


class _Storable(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(storable(obj))


def keep_storable(connection: psycopg.Connection[Any]) -> None:
    """From now on nothing that this connection is given is refused for a character in it."""
    connection.adapters.register_dumper(str, _Storable)
    set_json_dumps(storable_json, connection)
