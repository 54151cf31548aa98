"""A run's sessions in PostgreSQL: their names, how they behave, and how they end.

dbt takes a session's name from the profile and hashes the profile: a name that changes with every
run would make dbt parse the whole project each time. So the name is set where dbt-postgres opens a
connection, and run and caller are added where dbt makes its query comment. Other adapters, and a
project's own query comment, are left as they are.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from mage_dbt.dbt.sessions.names import application_name, plain, run_name

LONGEST_CALLER = 100
"""Characters of the caller in a query comment."""


def name_sessions(run: str, caller: str) -> None:
    """From now on every session that dbt opens in this process has the run's name."""
    try:
        from dbt.adapters.postgres.connections import PostgresConnectionManager
    except ImportError:  # dbt/requirements.txt names another adapter
        return
    from mage_dbt.dbt.sessions import postgres  # needs psycopg2

    postgres.arrange(run_name(run))
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
