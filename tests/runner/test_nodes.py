"""A node is its unique id, and has one result, its own: in plans, in reruns, by every command."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mage_dbt.errors import BadSelection, NothingLeft
from mage_dbt.model.request import Request
from mage_dbt.model.run import NodeResult, Run, RunState
from tests.harness.runner import Runner

PROJECT = "nodes"

YEARS = range(2022, datetime.now(UTC).year + 1)


@pytest.fixture(autouse=True, scope="module")
def switches(runner: Runner) -> None:
    runner.execute("create table public.switches (name text, n int)")
    runner.execute(
        "insert into public.switches select unnest(array['marks', 'orders', 'chain', 'hook',"
        " 'analysis']), 1"
    )
    runner.execute("create table public.bad_years (year int, seconds int)")


@pytest.fixture(autouse=True)
def everything_works(runner: Runner, switches: None) -> Iterator[None]:
    yield
    runner.execute("update public.switches set n = 1")
    runner.execute("truncate public.bad_years")


def switch(runner: Runner, name: str, n: int) -> None:
    runner.execute(f"update public.switches set n = {n} where name = '{name}'")


def failed(runner: Runner, **request: object) -> Run:
    run = runner.run(**request)
    assert run.state is RunState.ERROR, run.detail
    return run


def of(run: Run, name: str) -> NodeResult:
    return next(one for one in run.nodes if one.name == name)


def names(run: Run) -> set[str]:
    return {one.name for one in run.nodes if one.type != "operation"}


def planned(runner: Runner, **request: object) -> dict[str, str]:
    """Names in the plan, each with why; `notes` with all its notes."""
    plan = runner.client.plan(Request.parse(request)).to_json()
    return {one["name"]: one["why"] for one in plan["nodes"]} | {"notes": " ".join(plan["notes"])}


def rerun_plan(runner: Runner, run: Run) -> dict[str, str]:
    return planned(runner, operation="rerun_failed", of=run.id)


def test_names_that_dbt_reads_as_selectors_are_run_again_alone(runner: Runner) -> None:
    switch(runner, "marks", 0)
    run = failed(runner, operation="command", command="build --select path:models/marks")
    wrong = {one.name for one in run.nodes if one.status == "fail"}
    assert wrong == {"id_once,please", "id_once[daily]?", "id_*"}
    switch(runner, "marks", 1)
    again = runner.run(operation="rerun_failed", of=run.id)
    assert again.state is RunState.SUCCESS, again.detail
    assert names(again) == wrong | {"marked"}


def test_a_model_is_not_the_folder_of_its_name(runner: Runner) -> None:
    switch(runner, "orders", 0)
    run = failed(runner, select="fqn:shop.orders")  # dbt's own words: the folder too
    assert names(run) == {"orders", "order_log"}
    switch(runner, "orders", 1)
    again = runner.run(operation="rerun_failed", of=run.id)
    assert again.state is RunState.SUCCESS and names(again) == {"orders"}, again.detail
    assert runner.query("select count(*) from analytics.order_log") == [(1,)]


def test_one_model_is_named_as_it_is_and_not_selected(runner: Runner) -> None:
    for models in ("orders", "model.shop.orders"):
        assert planned(runner, models=models) == {"orders": "asked for", "notes": ""}
    around = planned(runner, models="second", with_upstream=True, with_downstream=True)
    assert around == {
        "first": "upstream of second",
        "second": "asked for",
        "third": "downstream of second",
        "notes": "",
    }
    assert set(planned(runner, models="marked")) >= {"marked", "id_*", "id_once,please"}
    assert "id_d" not in planned(runner, models="marked")
    with pytest.raises(BadSelection, match='No model "ordres".*orders'):
        planned(runner, models="ordres")
    switch(runner, "orders", 0)
    run = failed(runner, models="orders")
    assert rerun_plan(runner, run).keys() == {"orders", "notes"}


@pytest.mark.parametrize(
    ("select", "says"),
    [
        ("tag:markt", 'has the tag "markt". Did you mean marks?'),
        ("tag:zzz", 'has the tag "zzz". There is marks.'),
        ("source:nope", 'No source "nope" in dbt-metric'),
        ("path:models/chian", "Did you mean models/chain"),
        ("package:shup", "Did you mean shop?"),
        ("config.materialized:nope", 'matches "config.materialized:nope".'),
        ("tag:marks,path:models/chain", "is in all of: tag:marks, path:models/chain."),
        ("tagg:marks", '"tagg:" is no way to select: dbt has no such method. Did you mean tag'),
        ("ordres+", 'No model "ordres+"'),
    ],
)
def test_a_selection_that_matches_nothing_is_told_in_our_words(
    runner: Runner, select: str, says: str
) -> None:
    with pytest.raises(BadSelection) as refused:
        planned(runner, select=select)
    assert says in str(refused.value)
    for word in ("Error", "run_results", "list of models"):
        assert word not in str(refused.value)


def test_a_version_0_and_a_name_of_macos_are_found(runner: Runner) -> None:
    letters = unicodedata.normalize("NFD", "학점")
    other = unicodedata.normalize("NFC", letters)
    versions = runner.repository / "models" / "acc.yml"
    versions.write_text(
        "models: [{name: acc, latest_version: 0, versions: [{v: 0, defined_in: acc_v0},"
        " {v: 1, defined_in: acc_v1}]}]"
    )
    runner.publish(
        "Versions", acc_v0="select 0 as id", acc_v1="select 1 as id", **{letters: "select 2 as id"}
    )
    assert {one.name for one in runner.client.models("acc")} == {"acc.v0", "acc.v1"}
    assert [one.name for one in runner.client.models(other)] == [letters]
    run = runner.run(models="acc.v0")
    assert names(run) == {"acc.v0"}, run.detail
    with pytest.raises(BadSelection, match=f"Did you mean {letters}. It looks the same"):
        planned(runner, select=other)
    versions.unlink()
    runner.publish("None", acc_v0=None, acc_v1=None, **{letters: None})


def test_only_a_run_that_did_as_much_repairs_a_node(runner: Runner) -> None:
    switch(runner, "chain", 0)
    run = failed(runner, operation="full_refresh", select="first")
    switch(runner, "chain", 1)
    for command in ("compile", "run --empty", "run"):
        name, *flags = command.split()
        words = " ".join([name, "--select", "first", *flags])
        other = runner.run(operation="command", command=words)
        assert other.state is RunState.SUCCESS, other.detail
    plan = rerun_plan(runner, run)
    assert "first" in plan and "all of it is built aside again" in str(plan["notes"])
    runner.run(operation="full_refresh", select="first")
    with pytest.raises(NothingLeft, match="first has succeeded since"):
        rerun_plan(runner, run)


def test_a_rerun_runs_what_was_asked_for_and_no_more(runner: Runner) -> None:
    runner.run(select="path:models/chain")
    switch(runner, "chain", 0)
    run = failed(runner, operation="command", command="run --select first")
    assert rerun_plan(runner, run).keys() == {"first", "notes"}
    whole = failed(runner, select="path:models/chain")
    assert rerun_plan(runner, whole).keys() == {"first", "second", "third", "notes"}


def test_what_a_repair_reads_is_built_along_and_nothing_planned_is_called_left_out(
    runner: Runner,
) -> None:
    runner.run(select="path:models/chain")
    switch(runner, "chain", 0)
    run = failed(runner, select="first+")
    switch(runner, "chain", 1)
    runner.run(select="second third")  # on the old rows of first
    runner.repository.joinpath("models/chain/chain.yml").write_text(
        "models:\n  - name: beside\n    columns:\n      - name: id\n        data_tests:\n"
        "          - relationships: {name: refers, to: ref('first'), field: id}\n"
    )
    runner.live(
        runner.commit("Add beside", deep="select 1 as id", beside="select * from {{ ref('deep') }}")
    )
    plan = rerun_plan(runner, run)
    assert plan.keys() == {"first", "second", "third", "refers", "beside", "deep", "notes"}
    assert "left out" not in plan["notes"]
    assert (
        "Not in the warehouse, and read by what runs, so built too: beside, deep." in plan["notes"]
    )
    again = runner.run(operation="rerun_failed", of=run.id)
    assert again.state is RunState.SUCCESS, again.detail


def filled_years(runner: Runner) -> list[int]:
    return [
        year for (year,) in runner.query("select distinct year from analytics.filled order by 1")
    ]


def test_failed_batches_are_filled_by_a_rerun(runner: Runner) -> None:
    runner.execute("insert into public.bad_years values (2023, 0)")
    run = failed(runner, select="path:models/years")
    model = of(run, "filled")
    assert model.status == "partial success" and "batch 2023: " in model.message
    assert "division by zero" in model.message
    assert of(run, "counted").because == "filled"
    runner.execute("truncate public.bad_years")
    # A run of the newest batch alone repairs nothing.
    runner.run(operation="command", command="run --select filled counted")
    assert 2023 not in filled_years(runner)
    plan = rerun_plan(runner, run)
    assert plan["filled"].startswith("its batches of 2023-01-01 to 2023-12-31 UTC were not filled")
    assert "source" not in plan
    again = runner.run(operation="rerun_failed", of=run.id)
    assert again.state is RunState.SUCCESS, again.detail
    assert filled_years(runner) == list(YEARS)
    assert len(runner.query("select * from analytics.counted")) == len(YEARS)
    with pytest.raises(NothingLeft):
        rerun_plan(runner, run)


def test_a_failed_batch_of_a_full_refresh_does_not_replace_the_others(runner: Runner) -> None:
    runner.run(select="source")
    runner.execute("insert into public.bad_years values (2024, 0)")
    run = failed(runner, operation="full_refresh", select="filled")
    runner.execute("truncate public.bad_years")
    again = runner.run(operation="rerun_failed", of=run.id)
    assert again.state is RunState.SUCCESS, again.detail
    assert filled_years(runner) == list(YEARS)


def test_what_a_cancelled_run_had_not_filled_is_filled_by_its_rerun(runner: Runner) -> None:
    runner.run(select="source")
    runner.execute("drop table if exists analytics.filled cascade")
    runner.execute("insert into public.bad_years values (2024, 600)")
    run = runner.ask(select="filled")
    runner.running(run, "pg_sleep(bad.seconds)")
    runner.client.cancel(run.id, "by the test")
    runner.execute("truncate public.bad_years")
    again = runner.run(operation="rerun_failed", of=run.id)
    assert again.state is RunState.SUCCESS, again.detail
    assert filled_years(runner) == list(YEARS)


def test_a_window_is_built_when_it_is_asked_for(runner: Runner) -> None:
    runner.run(select="source filled")
    runner.execute("truncate analytics.filled")
    window = {"event_time_start": "2023-01-01", "event_time_end": "2025-01-01"}
    run = runner.run(models="filled", **window)
    assert run.state is RunState.SUCCESS, run.detail
    assert filled_years(runner) == [2023, 2024]
    words = "run --select filled --event-time-start 2022-01-01 --event-time-end=2023-01-01"
    runner.run(operation="command", command=words)
    assert filled_years(runner) == [2022, 2023, 2024]
    plan = runner.client.plan(Request.parse({"select": "first", **window})).to_json()
    assert any("window of event time changes nothing" in one for one in plan["warnings"])


def test_when_only_a_hook_failed_the_rerun_says_so_and_how_much_it_rebuilds(runner: Runner) -> None:
    switch(runner, "hook", 0)
    run = failed(runner, select="given second")
    assert "shop-on-run-end-0" in run.detail
    plan = rerun_plan(runner, run)
    assert plan.keys() == {"given", "second", "notes"}
    assert "Only the hook shop-on-run-end-0 failed." in plan["notes"]
    assert "all 2 nodes of it run again" in plan["notes"]
    switch(runner, "hook", 1)
    runner.run(select="given")
    with pytest.raises(NothingLeft):
        rerun_plan(runner, run)


def test_a_model_that_its_own_unit_test_stops_says_so(runner: Runner) -> None:
    run = failed(runner, select="path:models/guarded")
    assert of(run, "adds_one").status == "fail"
    assert {one.name: one.because for one in run.nodes if one.status == "skipped"} == {
        "added": "adds_one",
        "after": "adds_one",
    }


def test_when_nothing_is_reached_each_node_has_dbts_reason(runner: Runner) -> None:
    run = failed(runner, select="reserved given")
    for name in ("reserved", "given"):
        assert "unacceptable schema name" in of(run, name).message


def test_an_analysis_is_planned_and_has_a_result_where_dbt_compiles_it(runner: Runner) -> None:
    command = "compile --select looked_at"
    assert planned(runner, operation="command", command=command).keys() == {"looked_at", "notes"}
    run = runner.run(operation="command", command=command)
    assert run.state is RunState.SUCCESS and of(run, "looked_at").type == "analysis", run.detail
    switch(runner, "analysis", 0)
    wrong = failed(runner, operation="command", command=command)
    assert "switched off" in of(wrong, "looked_at").message
    assert rerun_plan(runner, wrong).keys() == {"looked_at", "notes"}
    with pytest.raises(BadSelection, match="matches nothing to build"):
        planned(runner, select="looked_at")
