"""Names dbt's sessions in PostgreSQL after the run and its caller, for pg_stat_activity.

dbt takes a session's name from the profile and hashes the profile: a name that changes with every
run would make it parse the whole project each time. So the name is put in where dbt-postgres opens
a connection, and run and caller are added where dbt makes its query comment. Other adapters, and a
query comment of the project's own, are left as they are.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from typing import Any

LONGEST_NAME = 63
"""PostgreSQL cuts an application_name off after so many bytes."""

LONGEST_CALLER = 100

left_behind = False
"""Whether sessions of the run that this process cancelled are still there, or may be."""


def plain(text: str) -> str:
    """ASCII that can stand anywhere: it ends no comment, no quotes and no line."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9@._+,:() -]+", "_", ascii_text).strip() or "unknown"


def application_name(run: str, caller: str) -> str:
    """`mage-dbt <run> <caller>`, at most LONGEST_NAME bytes."""
    return f"{run_name(run)} {plain(caller)}"[:LONGEST_NAME].strip()


def run_name(run: str) -> str:
    """How the name of every session of the run begins."""
    return f"mage-dbt {run}"


def name_sessions(run: str, caller: str) -> None:
    """From now on every session that dbt opens in this process says whose it is."""
    try:
        from dbt.adapters.postgres.connections import PostgresConnectionManager
    except ImportError:  # dbt/requirements.txt names another adapter
        return
    from mage_dbt.worker import postgres_sessions

    postgres_sessions.arrange(run_name(run))
    from dbt.adapters.base.query_headers import MacroQueryStringSetter
    from dbt.adapters.contracts.connection import DEFAULT_QUERY_COMMENT

    name = application_name(run, caller)
    end = "{{ return(tojson(comment_dict)) }}"
    fields = f"run={json.dumps(run)}, caller={json.dumps(plain(caller)[:LONGEST_CALLER])}"
    comment = DEFAULT_QUERY_COMMENT.replace(end, f"{{%- do comment_dict.update({fields}) -%}}{end}")

    def get_credentials(cls: type[Any], credentials: Any) -> Any:
        return replace(credentials, application_name=name)

    def get_comment_macro(setter: Any) -> str | None:
        theirs: str | None = setter.config.query_comment.comment
        ours = theirs == DEFAULT_QUERY_COMMENT and setter.config.credentials.type == "postgres"
        return comment if ours else theirs

    PostgresConnectionManager.get_credentials = classmethod(get_credentials)
    MacroQueryStringSetter._get_comment_macro = get_comment_macro
