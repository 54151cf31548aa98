"""The sentence and the advice of failures in the shapes in which databases and dbt report them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mage_dbt.explain.refused import failure_of_run
from mage_dbt.model.explanation import Cause, FailedNode
from mage_dbt.model.failure import FailureClass, failure_of, sqlstate_of_refusal
from mage_dbt.model.plain_words import advice, plain_words, sentence, texts
from mage_dbt.model.reason import hint_of, words_first
from mage_dbt.model.run import (
    ENDED_EARLY,
    RUNNER_STOPPED,
    TAKEN_OVER,
    UNDECIDED,
    NodeResult,
    cancelled,
    cancelled_in_mage,
)

INFRASTRUCTURE, CODE, DATA, UNKNOWN, STOPPED = FailureClass


BEGINNINGS = ("%(name)s", "%(num)s", "%(who)s", "dbt ")


def cause(message: str, sqlstate: str = "", type: str = "model", status: str = "error") -> Cause:
    result = NodeResult(
        "model.shop.a", "a", type, status, message=message.strip(), sqlstate=sqlstate
    )
    found = failure_of(result)
    node = FailedNode("model.shop.a", "a", type, "", result.message, status=status)
    return Cause(found.failure_class, sqlstate, found.title, found.signature, (node,))


def of_a_run(reason: str) -> Cause:
    found = failure_of_run(reason)
    return Cause(found.failure_class, found.sqlstate, found.title, found.signature, ())


RAISED = """
Database Error in model a (models/a.sql)
  the ledger of 2026-11-30 is closed
  DETAIL:  3 entries
  HINT:  Ask the bookkeepers
  CONTEXT:  PL/pgSQL function close_check(date) line 12 at RAISE
  compiled code at target/run/shop/models/a.sql
"""

STANDBY = """
canceling statement due to conflict with recovery
DETAIL:  User query might have needed to see row versions that must be removed.

Database Error in model a (models/a.sql)
"""

CATALOG = """
duplicate key value violates unique constraint "pg_type_typname_nsp_index"
DETAIL:  Key (typname, typnamespace)=(a__dbt_tmp, 16390) already exists.

Database Error in model a (models/a.sql)
"""

CONTRACT = """
Compilation Error in model a (models/a.sql)
  This model has an enforced contract that failed.
  Please ensure the name, data_type, and number of columns in your contract match the columns in \
your model's definition.

  | column_name | definition_type | contract_type | mismatch_reason    |
  | ----------- | --------------- | ------------- | ------------------ |
  | id          | INTEGER         | TEXT          | data type mismatch |

  > in macro assert_columns_equivalent (macros/relations/column/columns_spec_ddl.sql)
  > called by model a (models/a.sql)
"""

GONE = """
SSL connection has been closed unexpectedly

Database Error in snapshot a (snapshots/a.sql)
"""

MERGED = """
ON CONFLICT DO UPDATE command cannot affect row a second time
HINT:  Ensure that no rows proposed for insertion within the same command have duplicate \
constrained values.
"""


@pytest.mark.parametrize(
    ("message", "sqlstate", "kind", "words"),
    [
        (RAISED, "P0001", UNKNOWN, "A function of the database stopped a with a message of its"),
        (STANDBY, "40001", INFRASTRUCTURE, "Another session changed what a was reading"),
        ("canceling statement due to user request", "57014", INFRASTRUCTURE, "a was stopped in"),
        ("문장 실행이 취소되었습니다", "57014", INFRASTRUCTURE, "The database stopped a before"),
        ("canceling statement due to lock timeout", "55P03", INFRASTRUCTURE, "a waited too long"),
        (CATALOG, "23505", INFRASTRUCTURE, "a and another session made the same thing at once"),
        ("sorry, too many clients already", "53300", INFRASTRUCTURE, "The database had too many"),
        (
            *("cannot execute CREATE TABLE AS in a read-only transaction", "25006"),
            *(INFRASTRUCTURE, "The database took no writes when a ran."),
        ),
        (
            *("cached plan must not change result type", "0A000"),
            *(INFRASTRUCTURE, "A table changed while a was reading it."),
        ),
        ("cross-database references are not implemented", "0A000", CODE, "a asks for something"),
        (GONE, "08006", INFRASTRUCTURE, "a lost its connection to the database."),
        ("permission denied for table raw_orders", "42501", CODE, "a lacks a right in the"),
        ('missing FROM-clause entry for table "t"', "42P01", CODE, "a names a table or an alias"),
        ('relation "a__dbt_tmp" already exists', "42P07", CODE, "A table that a wants to make is"),
        ('syntax error at or near "from"', "42601", CODE, "The SQL of a has a mistake"),
        ("cannot drop table b because other objects", "2BP01", CODE, "Something else depends on"),
        ("invalid regular expression: ( not balanced", "2201B", CODE, "a has a search pattern"),
        ('invalid input syntax for type integer: ""', "22P02", DATA, "a has a value of another"),
        ("integer out of range", "22003", DATA, "a has a number that is too large"),
        (MERGED, "21000", DATA, "a got several rows where only one may come."),
        ("division by zero\nCONTEXT:  SQL function", "22012", DATA, "a divides by zero."),
        ('could not connect to server "lake"', "HV00N", UNKNOWN, "a could not read a table of"),
        ("what nobody knows", "72000", UNKNOWN, "a failed."),
        (CONTRACT, "", CODE, "a has other columns than its contract promises."),
        (
            "Compilation Error in model a (models/a.sql)\n  'None' has no attribute 'foo'",
            *("", CODE, "dbt cannot make SQL of a."),
        ),
        (
            "Compilation Error in model a (models/a.sql)\n  unsupported operand type(s) for +:"
            " 'NoneType' and 'str'",
            *("", CODE, "dbt cannot make SQL of a."),
        ),
        (
            "Compilation Error in model a (models/a.sql)\n  Model 'model.shop.a' (models/a.sql)"
            " depends on a node named 'b' which was not found",
            *("", CODE, "dbt cannot make SQL of a."),
        ),
        (
            "Compilation Error in model a (models/a.sql)\n  No rate\n\n  > in macro to_euro"
            " (macros/to_euro.sql)\n  > called by model a (models/a.sql)",
            *("", CODE, "A macro stopped a with a message of its own."),
        ),
        (f"{ENDED_EARLY}: killed by signal 9.", "", INFRASTRUCTURE, "The process of the run ended"),
        (f"{RUNNER_STOPPED} while it ran", "", INFRASTRUCTURE, "The workspace was stopped while"),
        (f"{TAKEN_OVER}.", "", INFRASTRUCTURE, "Another runner took the run over before a was"),
        (cancelled("kim"), "", STOPPED, "The run was cancelled before a was done."),
        (
            cancelled(cancelled_in_mage("")),
            *("", STOPPED, "The run was cancelled before a was done."),
        ),
        ("Runtime Error in model a (models/a.sql)\n  odd", "", UNKNOWN, "a failed."),
    ],
)
def test_a_failure_of_any_shape_has_a_class_and_a_plain_sentence(
    message: str, sqlstate: str, kind: FailureClass, words: str
) -> None:
    found = cause(message, sqlstate)
    assert (found.failure_class, sentence(found)[: len(words)]) == (kind, words)
    if kind is INFRASTRUCTURE:
        assert "rerun may pass" in advice(found)


def test_what_no_commit_repairs_says_who_does() -> None:
    denied = cause("permission denied for schema finance", "42501")
    assert "grant" in advice(denied) and not plain_words(denied).by_commit
    assert plain_words(cause('column "b" does not exist', "42703")).by_commit


@pytest.mark.parametrize(
    ("words", "sqlstate"),
    [
        ('FATAL:  password authentication failed for user "dbt"', "28P01"),
        ('FATAL:  role "dbt" is not permitted to log in', "28000"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "dbt"', "28000"),
        ('FATAL:  database "shop" does not exist', "3D000"),
        ("FATAL:  sorry, too many clients already", "53300"),
        ("FATAL:  the database system is starting up", "57P03"),
        ("Connection refused\n\tIs the server running on that host?", "08001"),
        ("치명적오류:  사용자 인증을 실패했습니다", "08001"),
    ],
)
def test_a_refused_connection_has_the_servers_sqlstate(words: str, sqlstate: str) -> None:
    reason = f'connection to server at "127.0.0.1", port 5432 failed: {words}'
    assert sqlstate_of_refusal(reason) == sqlstate
    found = of_a_run(f"{reason}\n\nDatabase Error")
    assert found.sqlstate == sqlstate
    assert found.failure_class is (CODE if sqlstate[:2] in ("28", "3D") else INFRASTRUCTURE)
    assert sentence(found).startswith("Nothing of it could run: ")


def test_a_refused_request_says_to_read_the_message() -> None:
    found = of_a_run('No model "fct_order" in dbt-metric at 3f2c1ab.')
    assert (found.failure_class, sentence(found)) == (CODE, "Nothing of it could run.")
    assert "message" in advice(found)


def test_a_test_a_unit_test_and_a_source_have_sentences_of_their_own() -> None:
    assert (
        sentence(cause("Got 1 result", type="test", status="fail")) == "The test a does not hold."
    )
    assert "unit test a got other" in sentence(cause("diff", type="unit_test", status="fail"))
    assert sentence(cause("", type="source")) == "The source a is late."
    error = cause('column "b" does not exist', "42703", type="test")
    assert sentence(error) == "a reads a column that is not there."


def test_the_hint_is_the_workspaces_own_or_else_the_servers() -> None:
    missing = 'relation "raw.b" does not exist\n\nDatabase Error in model a (models/a.sql)'
    assert hint_of(f"{missing}\n\nraw.b is the source raw.b.") == "raw.b is the source raw.b."
    assert hint_of(RAISED.strip()) == "Ask the bookkeepers"
    hook = "shop-on-run-end-0 failed, error:\n division by zero"
    of_hook = "The statement is a hook of the project shop: select 1 / 0"
    assert hint_of(f"{words_first(hook)}\n\n{of_hook}") == of_hook
    assert hint_of(missing) == hint_of("") == hint_of(CONTRACT.strip()) == ""


@pytest.mark.parametrize(
    ("reason", "kind", "words"),
    [
        ("Cancelled by kim.", STOPPED, "kim stopped it."),
        ("Cancelled by kim: it holds up the build.", STOPPED, "kim stopped it."),
        (
            "Thrown away by kim: 7,000 rows too many.",
            *(STOPPED, "kim threw the refresh away. Nothing has changed."),
        ),
        (
            f"{UNDECIDED} within 30 minutes. Nothing has changed. Ask for the refresh again.",
            *(STOPPED, "Nobody let the refresh swap in time. Nothing has changed."),
        ),
        (
            "The runner was stopped while this run was going on.",
            *(INFRASTRUCTURE, "The workspace was stopped before it was done."),
        ),
        (
            f"Cancelled: {RUNNER_STOPPED}.",
            *(INFRASTRUCTURE, "The workspace was stopped before it was done."),
        ),
        (
            f"T{TAKEN_OVER[1:]}.",
            INFRASTRUCTURE,
            "Its runner was stopped or lost the database, and another runner took the run over.",
        ),
        (
            "Cancelled: its pipeline run was cancelled in Mage.",
            *(STOPPED, "Its pipeline run was cancelled in Mage."),
        ),
        (
            "Cancelled by kim: its pipeline run was cancelled in Mage.",
            *(STOPPED, "kim stopped it."),
        ),
    ],
)
def test_who_ended_a_run_is_named(reason: str, kind: FailureClass, words: str) -> None:
    found = of_a_run(reason)
    assert (found.failure_class, sentence(found)) == (kind, words)
    assert "machine" not in advice(found) and found.title.startswith(reason.split(".")[0])


def test_every_text_is_a_sentence_that_names_only_what_it_may() -> None:
    for text in texts():
        assert text.endswith(".") and (text[0].isupper() or text.startswith(BEGINNINGS))
        assert text % {"name": "a", "tested": "b", "who": "c", "num": "3"}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("permission denied for table x", "does not let dbt use 3 tables."),
        ("permission denied for view x", "does not let dbt use 3 views."),
        ("permission denied for materialized view x", "does not let dbt use 3 views."),
        ("permission denied for schema x", "does not let dbt use 3 schemas."),
        ("permission denied for sequence x", "does not let dbt use 3 sequences."),
        ("must be owner of table x", "Others own 3 objects that dbt wants to replace or drop."),
    ],
)
def test_many_forbidden_objects_are_called_by_their_kind(message: str, words: str) -> None:
    found = cause(message, "42501")
    nodes = tuple(replace(found.nodes[0], object=name) for name in "xyz")
    assert sentence(replace(found, nodes=nodes)).endswith(words)
