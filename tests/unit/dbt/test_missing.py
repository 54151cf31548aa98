"""A missing relation that is the project's own: what it is, and the command that brings it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mage_dbt.dbt.results.failures import (
    MOST_ERRORS,
    UNDEFINED_TABLE,
    Relations,
    ServerError,
    error_of,
    note_error,
)
from mage_dbt.warehouse.postgres import Postgres


def node(kind: str, name: str, relation: str, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(resource_type=kind, name=name, relation_name=relation, **more)


NODES = [
    node("seed", "raw_orders", '"warehouse"."analytics"."raw_orders"'),
    node("model", "stg", '"warehouse"."analytics"."stg"'),
    node("model", "dim", '"warehouse"."analytics"."Dim Ü"', version=2),
    node("snapshot", "kept", "warehouse.Analytics.Kept"),
]
SOURCES = [
    node(
        "source",
        "payments",
        '"warehouse"."raw"."payments"',
        source_name="raw",
        original_file_path="models/raw.yml",
        loader="the night's export",
    ),
    node(
        "source",
        "people",
        '"warehouse"."crm"."people"',
        source_name="crm",
        original_file_path="models/crm.yml",
        loader="",
    ),
    node(
        "source",
        "orders",
        '"warehouse"."analytics"."raw_orders"',
        source_name="files",
        original_file_path="models/files.yml",
        loader="",
    ),
]
RELATIONS = Relations(NODES, SOURCES, Postgres(lambda sql: []).folding)


def remedy(primary: str, sqlstate: str = UNDEFINED_TABLE) -> str:
    return RELATIONS.remedy(ServerError(sqlstate, primary))


def test_a_seed_says_run_the_seeds_first_with_the_command() -> None:
    """Also when the project calls the same table a source."""
    told = remedy('relation "analytics.raw_orders" does not exist')
    assert told.startswith("analytics.raw_orders is the seed raw_orders, and not in the warehouse.")
    assert "Run the seeds first: ./scripts/mage-dbt run command --command seed " in told
    assert "in Mage: dbt_command with the command seed" in told


@pytest.mark.parametrize(
    ("primary", "what", "command"),
    [
        ('relation "analytics.stg" does not exist', "the model stg", "--select +stg "),
        ('relation "analytics.Dim Ü" does not exist', "the model dim.v2", "--select +dim.v2 "),
        ('relation "analytics.kept" does not exist', "the snapshot kept", "--select +kept "),
    ],
)
def test_a_model_and_a_snapshot_say_which_and_how_to_build_it(
    primary: str, what: str, command: str
) -> None:
    told = remedy(primary)
    assert what in told and command in told and "single_model_rerun" in told


def test_a_source_says_who_loads_it() -> None:
    assert remedy('relation "raw.payments" does not exist') == (
        "raw.payments is the source raw.payments, and not in the warehouse. dbt loads no sources: "
        "the night's export does, by models/raw.yml."
    )
    told = remedy('relation "crm.people" does not exist')
    assert "the source crm.people, and" in told
    assert told.endswith("dbt loads no sources: who does, models/crm.yml does not say (`loader`).")


@pytest.mark.parametrize(
    "primary",
    [
        "Relation »analytics.raw_orders« existiert nicht",
        "la relation « analytics.raw_orders » n'existe pas",
        "отношение „analytics.raw_orders“ не существует",
    ],
)
def test_the_server_may_speak_any_language(primary: str) -> None:
    assert "the seed raw_orders" in remedy(primary)


@pytest.mark.parametrize(
    ("primary", "sqlstate"),
    [
        ('relation "analytics.of_others" does not exist', UNDEFINED_TABLE),
        ('relation "raw_orders" does not exist', UNDEFINED_TABLE),  # in which schema?
        ('missing FROM-clause entry for table "stg"', UNDEFINED_TABLE),
        ('relation "analytics.raw_orders" does not exist', "P0001"),  # somebody's own exception
        ('relation "analytics.DIM Ü" does not exist', UNDEFINED_TABLE),
        ("", ""),
    ],
)
def test_nothing_is_said_of_what_is_not_the_projects_or_not_known_to_be(
    primary: str, sqlstate: str
) -> None:
    assert remedy(primary, sqlstate) == ""
    assert RELATIONS.remedy(None) == ""


def test_an_error_counts_only_for_its_node_and_for_the_message_that_quotes_it() -> None:
    note_error("model.p.a", UNDEFINED_TABLE, 'relation "a.b"\nof two lines')
    note_error("model.p.a", "22012", "division by zero")
    note_error("model.p.b", "57P01", "terminating connection")
    quoted = error_of("model.p.a", 'Database Error\n  relation "a.b"\n  of two lines')
    assert quoted is not None and quoted.sqlstate == UNDEFINED_TABLE
    assert error_of("model.p.a", "syntax error") is None
    assert error_of("model.p.a", "terminating connection") is None
    assert error_of("model.p.c", "terminating connection") is None


def test_of_the_errors_of_many_batches_the_first_and_the_last_are_known() -> None:
    for number in range(MOST_ERRORS + 50):
        note_error("model.p.batches", "22012", f"batch <{number}>")
    assert error_of("model.p.batches", "batch <0>") is not None
    assert error_of("model.p.batches", f"batch <{MOST_ERRORS + 49}>") is not None
    assert error_of("model.p.batches", f"batch <{MOST_ERRORS + 10}>") is None
