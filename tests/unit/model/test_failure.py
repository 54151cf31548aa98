"""The class, title and signature of a failure: by SQLSTATE first, in whatever language."""

from __future__ import annotations

import pytest

from mage_dbt.model.failure import (
    FailureClass,
    cause_key,
    failure_of,
    object_of,
    objects_key,
)
from mage_dbt.model.reason import HOOK_OF
from mage_dbt.model.run import ENDED_EARLY, RUNNER_STOPPED, NodeResult, cancelled

INFRASTRUCTURE, CODE, DATA, UNKNOWN, STOPPED = FailureClass


def failed(message: str, sqlstate: str = "", **more: str) -> NodeResult:
    fields = {"node": "model.shop.orders", "name": "orders", "type": "model", "status": "error"}
    return NodeResult(**{**fields, **more, "message": message, "sqlstate": sqlstate})  # type: ignore[arg-type]


def signature(message: str, sqlstate: str = "", **more: str) -> str:
    return failure_of(failed(message, sqlstate, **more)).signature


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        *((state, INFRASTRUCTURE) for state in ("08006", "57P01", "57P03", "57014", "53100")),
        *((state, INFRASTRUCTURE) for state in ("53200", "53400", "40001", "40P01", "55P03")),
        *((state, INFRASTRUCTURE) for state in ("55006", "58030", "58P01", "XX000", "25P03")),
        *((state, INFRASTRUCTURE) for state in ("25006", "53300", "08001")),
        *((state, CODE) for state in ("42703", "42P01", "42501", "42601", "3F000", "26000")),
        *((state, CODE) for state in ("0A000", "2BP01", "28P01", "55000", "54011", "42P07")),
        *((state, DATA) for state in ("22012", "22P02", "23505", "23502", "21000", "P0003")),
        *((state, UNKNOWN) for state in ("P0001", "HV000", "99999")),
    ],
)
def test_the_sqlstate_decides_whatever_the_message_says(sqlstate: str, kind: FailureClass) -> None:
    heading = "릴레이션이 없습니다\n\nCompilation Error in model orders (models/orders.sql)"
    assert failure_of(failed(heading, sqlstate)).failure_class is kind


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("'x' is undefined\n\nCompilation Error in model orders (models/orders.sql)", CODE),
        ("Compilation Error in model orders (models/orders.sql)\n  'x' is undefined", CODE),
        ("no such file\n\nParsing Error in model orders (models/orders.sql)", CODE),
        ("gone\n\nBreaking change to contract Error in model orders (models/orders.sql)", CODE),
        (
            "line 1:8: Table not found\n\nDatabase Error in model orders (models/orders.sql)",
            UNKNOWN,
        ),
        ("odd\n\nRuntime Error in model orders (models/orders.sql)", UNKNOWN),
        ("", UNKNOWN),
        (f"{ENDED_EARLY}: killed by signal 9. none.", INFRASTRUCTURE),
        (f"{RUNNER_STOPPED} while this run was going on", INFRASTRUCTURE),
        (cancelled("kim"), STOPPED),
        (cancelled(RUNNER_STOPPED), INFRASTRUCTURE),
    ],
)
def test_without_a_sqlstate_dbts_heading_or_the_workspace_decides(
    message: str, kind: FailureClass
) -> None:
    assert failure_of(failed(message)).failure_class is kind


@pytest.mark.parametrize(
    ("type", "sqlstate", "more", "kind"),
    [
        ("model", "22012", "", DATA),
        ("model", "22012", f"\n\n{HOOK_OF}orders: select 1 / 0", CODE),
        ("model", "P0001", f"\n\n{HOOK_OF}orders: call check_all()", CODE),
        ("model", "40P01", f"\n\n{HOOK_OF}orders: vacuum", INFRASTRUCTURE),
        ("operation", "22012", "", CODE),
        ("seed", "22P02", "", CODE),
        ("seed", "08006", "", INFRASTRUCTURE),
        ("seed", "P0001", "", UNKNOWN),
    ],
)
def test_what_stands_in_the_project_is_code_whatever_it_makes_of_rows(
    type: str, sqlstate: str, more: str, kind: FailureClass
) -> None:
    result = failed(f"wrong{more}", type=type, sqlstate=sqlstate)
    assert failure_of(result).failure_class is kind


def test_a_test_that_does_not_hold_and_a_source_that_is_late_are_about_data() -> None:
    assert failure_of(failed("Got 1 result", type="test", status="fail")).failure_class is DATA
    late = failure_of(failed("", type="source"))
    assert (late.failure_class, late.title) == (DATA, "the newest row is too old")


def test_a_unit_test_is_about_code_for_its_rows_stand_in_the_yaml() -> None:
    unit_test = failed("actual differs from expected", type="unit_test", status="fail")
    assert failure_of(unit_test).failure_class is CODE


@pytest.mark.parametrize(
    ("message", "title"),
    [
        (
            "Database Error in model orders (a.sql)\n  ERROR:  no such thing\n  LINE 1",
            "no such thing",
        ),
        ("batch 2026-11-28: division by zero\n\n2 more batches failed.", "division by zero"),
        ("batch 2026-11-28T05:00:00: division by zero", "division by zero"),
        ("Got 1 result, configured to fail if != 0", "the test found 1 row"),
        (
            "Got 12 results, configured to fail if >10",
            "the test found 12 rows, and fails if >10",
        ),
        (
            "An error occurred during execution of unit test 'orders'. There may be an error in "
            "the unit test definition: check the data types.\n Database Error\n  bad input",
            "bad input",
        ),
        ("Model 'model.shop.orders' (models/orders.sql) depends on it", "depends on it"),
        ("shop.on-run-end.0 failed, error:\n relation is gone", "relation is gone"),
        (f"{ENDED_EARLY}: killed.\nlast words", f"{ENDED_EARLY}: killed."),
        ("", "dbt says error, and not why"),
    ],
)
def test_the_title_is_the_line_that_tells_something(message: str, title: str) -> None:
    assert failure_of(failed(message)).title == title


@pytest.mark.parametrize(
    ("message", "other"),
    [
        ("column a.b does not exist", 'column "b" does not exist'),
        ('relation "a.b" does not exist', 'relation "c" does not exist'),
        ("Spalte »a« existiert nicht", "Spalte »b« existiert nicht"),
        ('"a.b" 이름의 릴레이션이 없습니다', '"c" 이름의 릴레이션이 없습니다'),
        ("function f(integer, text) does not exist", "function s.g(date) does not exist"),
        (
            "value too long for type character varying(20)",
            "value too long for type character varying(5)",
        ),
        ('invalid input syntax for type uuid: "x"', 'invalid input syntax for type uuid: "it\'s"'),
        (
            "row 12345 of 2026-11-30 08:00:00.123+09 is odd",
            "row 7 of 2025-01-01 00:00:00+00 is odd",
        ),
        (
            "key 7f3e0c9a-1b2c-4d5e-8f90-a1b2c3d4e5f6 is taken",
            "key 00000000-0000-0000-0000-000000000000 is taken",
        ),
        ("page 0xdeadbeef of deadbeef00112233 is bad", "page 0x0 of 0123456789abcdef is bad"),
        ("orders__dbt_tmp is in use", "orders is in use"),
    ],
)
def test_literals_names_and_numbers_do_not_change_the_signature(message: str, other: str) -> None:
    assert signature(message, "42000") == signature(other, "42000")


def test_class_sqlstate_and_words_do_change_the_signature() -> None:
    assert signature("division by zero", "22012") != signature("division by zero")
    assert signature("division by zero", "22012") != signature("value out of range", "22012")


def test_a_test_of_a_kind_that_is_not_known_is_of_its_own_kind() -> None:
    by_name = failed("Got 1 result", type="test", status="fail")
    other = failed("Got 2 results", type="test", status="fail", name="unique_orders_id")
    assert failure_of(by_name).signature != failure_of(other).signature
    assert failure_of(by_name, "unique").signature == failure_of(other, "unique").signature


def test_what_the_ledger_has_kept_is_the_signature() -> None:
    assert signature("division by zero", "22012", signature="kept") == "kept"


def test_every_session_that_a_server_lost_is_one_cause() -> None:
    lost = [
        failed("server closed the connection unexpectedly", "08006"),
        failed("terminating connection due to administrator command", "57P01", node="model.b"),
        failed("the database system is starting up", "57P03", node="model.c"),
    ]
    assert len({cause_key(node) for node in lost}) == 1
    assert cause_key(failed("deadlock detected", "40P01")) != cause_key(lost[0])


def test_two_nodes_have_one_cause_when_they_name_one_object() -> None:
    def key(message: str, sqlstate: str, name: str) -> str:
        return cause_key(failed(message, sqlstate, node=f"model.shop.{name}", name=name))

    one = key("column o.code does not exist", "42703", "a")
    assert one == key('column "code" does not exist', "42703", "b")
    assert one != key("column o.region does not exist", "42703", "b")
    zero = key("division by zero", "22012", "a")
    assert zero != key("division by zero", "22012", "b")
    assert key('relation "a.x" does not exist', "42P01", "a") == key(
        'relation "a.x" does not exist', "42P01", "b"
    )


@pytest.mark.parametrize(
    ("sqlstate", "message", "name"),
    [
        ("42P01", 'relation "raw.t" does not exist', "raw.t"),
        ("42P01", "Relation »raw.t« existiert nicht", "raw.t"),
        ("42P01", '"raw.t" 이름의 릴레이션(relation)이 없습니다', "raw.t"),
        ("42P01", 'missing FROM-clause entry for table "t"', ""),
        ("42P01", 'invalid reference to FROM-clause entry for table "t"', ""),
        ("42P01", "fehlender Eintrag in FROM-Klausel für Tabelle »t«", ""),
        ("42P01", "une relation «a» et «b»", ""),
        ("42P01", "what names nothing", ""),
        ("3F000", 'schema "raw" does not exist', "raw"),
        ("3F000", "no schema has been selected to create in", ""),
        ("42501", "permission denied for table t_a", "t_a"),
        ("42501", "permission denied for table a table", "a table"),
        ("42501", "permission denied for view v", "v"),
        ("42501", "permission denied for materialized view m", "m"),
        ("42501", "permission denied for sequence s", "s"),
        ("42501", "must be owner of materialized view m", "m"),
        ("42501", "permission denied for function f", ""),
        ("42501", "permission denied for database d", ""),
        ("42501", 'new row violates row-level security policy for table "t"', ""),
        ("42703", 'column "c" does not exist', ""),
    ],
)
def test_only_what_is_missing_or_forbidden_itself_is_an_object(
    sqlstate: str, message: str, name: str
) -> None:
    result = failed(message, sqlstate)
    assert object_of(result) == name
    assert bool(objects_key(result)) == bool(name)


def test_each_kind_of_object_is_a_cause_of_its_own() -> None:
    words = ("permission denied for", "must be owner of")
    kinds = ("table", "view", "materialized view", "schema", "sequence")
    keys = {objects_key(failed(f"{how} {kind} x", "42501")) for how in words for kind in kinds}
    assert len(keys) == len(words) * len(kinds)


@pytest.mark.parametrize("kind", ["table", "materialized view", "schema", "function", "database"])
def test_the_name_of_what_is_forbidden_does_not_change_the_signature(kind: str) -> None:
    first, second = (f"permission denied for {kind} {name}" for name in ("t_a", "t_b"))
    assert signature(first, "42501") == signature(second, "42501")
    assert signature(first, "42501") != signature("permission denied for type t_a", "42501")
    assert cause_key(failed(first, "42501")) != cause_key(failed(second, "42501"))
