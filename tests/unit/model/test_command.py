"""A typed dbt command becomes a list of allowed words, or is refused by the word that is not."""

from __future__ import annotations

import pytest

from mage_dbt.errors import RequestError
from mage_dbt.model.command import COMMANDS, Command


def test_a_command_as_people_type_it() -> None:
    command = Command.parse("dbt build -s fct_orders+ dim_customers --exclude tag:slow")
    assert command == Command("build", ("fct_orders+", "dim_customers"), ("tag:slow",))


@pytest.mark.parametrize(
    "text",
    ["build --select 'a b'", "build --select=a --select b", "build -m a -s b"],
)
def test_every_way_to_write_a_selection(text: str) -> None:
    assert Command.parse(text).select == ("a", "b")


def test_flags_keep_their_values() -> None:
    command = Command.parse("test --indirect-selection cautious --fail-fast")
    assert command.flags == ("--indirect-selection", "cautious", "--fail-fast")
    assert not command.full_refresh
    assert Command.parse("run --full-refresh -s a").full_refresh


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_parses(name: str) -> None:
    assert Command.parse(name).name == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("dbt", "empty"),
        ("biuld", "Did you mean build?"),
        ("run-operation drop_all", "run-operation"),
        ("deps", "deps"),
        ("build; rm -rf /", "build;"),
        ("build --select a; ls", "a;"),
        ("build --select `id`", "`id`"),
        ("build --select a && ls", "&&"),
        ("build --profiles-dir /tmp", "--profiles-dir"),
        ("build --target dev", "--target"),
        ("build --vars '{a: 1}'", "`--var NAME=VALUE` with mage-dbt"),
        ("seed --vars '{a: 1}'", "`--var NAME=VALUE` with mage-dbt"),
        ("build -f", "--full-refresh"),
        ("build --select result:error", "`rerun_failed`"),
        ("build --select 1+result:error+", "`rerun_failed`"),
        ("build --exclude tag:x,state:modified", "files of an earlier run"),
        ("build --selct a", "Did you mean --select"),
        ("build --fullrefresh", "Did you mean --full-refresh"),
        ("build --select", "needs at least one model"),
        ("build --resource-type exposure", "takes one of"),
        ("build 'a", "cannot be read"),
    ],
)
def test_what_is_not_on_the_list_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        Command.parse(text)
    assert says in str(caught.value)


def test_a_selector_of_the_project_is_named_alone() -> None:
    command = Command.parse("build --selector nightly --fail-fast")
    assert command.flags == ("--selector", "nightly", "--fail-fast")
    for text in ("build --selector", "build --selector=-x", "build --selector n --select a"):
        with pytest.raises(RequestError, match="--selector"):
            Command.parse(text)
