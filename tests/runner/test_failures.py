"""A build with several causes of failure and many nodes after them, as people read it.

Real runs of `tests/projects/failures`: what PostgreSQL says, what dbt counts, what the tool prints.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.alerts import message
from mage_dbt.client import report
from mage_dbt.model.folded import by_cause
from mage_dbt.model.run import NodeResult, Run, RunState
from tests.harness.runner import Runner
from tests.harness.waiting import wait_until

PROJECT = "failures"

SEOUL = r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)? KST"


def tool(runner: Runner, *arguments: str) -> str:
    """What a person reads, on a machine whose own zone is another."""
    return runner.tool(*arguments, TZ="America/Caracas")


def of(run: Run, name: str) -> NodeResult:
    return next(one for one in run.nodes if one.name == name)


@pytest.fixture(scope="module")
def without_seeds(runner: Runner) -> Run:
    """A run of the models alone, in a warehouse that has nothing yet."""
    return runner.run(operation="command", command="run")


@pytest.fixture(scope="module")
def built(runner: Runner, without_seeds: Run) -> Iterator[Run]:
    """A build of everything, in which three causes keep ten nodes from running."""
    run = runner.run()
    assert run.state is RunState.ERROR
    yield run


def test_a_missing_seed_says_run_the_seeds_first_and_the_command_repairs_it(
    runner: Runner, without_seeds: Run
) -> None:
    told = of(without_seeds, "orders").message
    assert told.startswith('relation "analytics.raw_orders" does not exist\nLINE ')
    assert "\n\nDatabase Error in model orders (models/orders.sql)\ncompiled code at " in told
    hint = told.rsplit("\n\n", 1)[1]
    assert hint.startswith("analytics.raw_orders is the seed raw_orders, and not in the warehouse.")
    command = re.search(r"./scripts/mage-dbt (run command --command seed)", hint)
    assert command and "Success in" in tool(runner, *command[1].split())
    assert "Success in" in tool(runner, "run", "--select", "orders")


def test_a_missing_snapshot_and_a_missing_source_say_what_they_are(
    runner: Runner, without_seeds: Run
) -> None:
    changes = of(runner.run(operation="command", command="run -s changes"), "changes").message
    assert "is the snapshot kept, and not in the warehouse. Build it first" in changes
    payments = of(without_seeds, "payments").message
    assert payments.startswith('relation "raw.payments" does not exist')
    assert "dbt loads no sources: the night's export does, by models/models.yml." in payments
    assert "the source crm.people" in of(without_seeds, "people").message
    assert "is the " not in of(without_seeds, "settled").message


def test_the_databases_words_come_first_whole_at_every_door(runner: Runner, built: Run) -> None:
    amounts = of(built, "amounts").message
    words, where = amounts.split("\n\n")
    assert words.startswith("column recent.amout does not exist\nLINE ")
    assert 'HINT:  Perhaps you meant to reference the column "recent.amount".' in words
    assert where.startswith("Database Error in model amounts (models/amounts.sql)\ncompiled code")
    shown = tool(runner, "show", built.id)
    for line in amounts.splitlines():
        assert f"\n    {line}".rstrip() in shown
    followed = [one for one in runner.client.follow(built.id, print) if one.kind == "node_finished"]
    assert amounts in [one.data["message"] for one in followed]
    data = json.loads(tool(runner, "show", built.id, "--json"))
    assert amounts in [one["message"] for one in data["nodes"]]
    told = message.failure(built, built, None, "", "", ZoneInfo("Asia/Seoul"))
    assert "Error in" not in told.body


def test_failures_come_first_and_what_was_skipped_is_folded_by_cause(
    runner: Runner, built: Run
) -> None:
    lines = tool(runner, "show", built.id).splitlines()
    at = [
        next(number for number, line in enumerate(lines) if line.startswith(words))
        for words in ("error    amounts", "8 skipped because of amounts: ", "node ", "Error in ")
    ]
    assert at == sorted(at)
    assert re.fullmatch(
        r"8 skipped because of amounts: (after_\d, ){4}after_\d and 3 more", lines[at[1]]
    )
    assert "1 skipped because of payments: settled" in lines
    assert f"All of them: ./scripts/mage-dbt show {built.id} --json" in lines
    told = message.failure(built, built, None, "", "", ZoneInfo("Asia/Seoul"))
    assert "Skipped: 8 because of amounts: " in told.body


def dbts_last_lines(runner: Runner, run: Run) -> tuple[str, dict[str, int]]:
    """dbt's own summary of the run, from its log."""
    log = (runner.home.runs / run.id / "logs" / "dbt.log").read_text()
    kinds = re.findall(r"Finished running (.+?) in ", log)[-1]
    done = re.findall(r"Done\. (PASS=.+)", log)[-1]
    return kinds, {name: int(count) for name, count in re.findall(r"([A-Z-]+)=(\d+)", done)}


def test_counts_are_dbts_own(runner: Runner, built: Run) -> None:
    kinds, done = dbts_last_lines(runner, built)
    assert f": {done['TOTAL']} nodes ({kinds}): " in tool(runner, "show", built.id)
    counts = built.counts()
    assert counts["error"] + counts.get("fail", 0) == done["ERROR"]
    assert counts["skipped"] == done["SKIP"]
    assert sum(len(one.nodes) for one in by_cause(built.nodes)) == done["SKIP"]
    assert counts["success"] + counts.get("pass", 0) == done["PASS"]
    planned = tool(runner, "plan").splitlines()[0]
    hooks = "3 project hooks"
    assert f" and {hooks} at " in planned and hooks in kinds
    assert "with 1 ephemeral model inside them" in planned
    assert planned.startswith(f"{done['TOTAL'] - 3} nodes (")
    (row,) = [one for one in runner.client.runs() if one.id == built.id]
    assert (row.counts(), sum(counts.values())) == (counts, done["TOTAL"])
    bad = done["ERROR"] + done["SKIP"]
    assert built.detail.startswith(f"{bad} of {done['TOTAL']} nodes did not pass: ")
    told = message.failure(built, built, None, "", "", ZoneInfo("Asia/Seoul"))
    assert f"({done['ERROR']} of {done['TOTAL']} nodes)" in told.body


def test_every_time_is_the_teams_and_names_its_zone(runner: Runner, built: Run) -> None:
    assert re.search(rf"asked +{SEOUL} by test", tool(runner, "show", built.id))
    assert len(re.findall(SEOUL, tool(runner, "runs"))) == len(runner.client.runs())
    assert re.search(rf"daily +next build {SEOUL}\n", tool(runner, "status"))
    plan = tool(runner, "plan", "rerun_failed", "--of", built.id)
    assert re.search(r"failed at (\S+ )?\d\d:\d\d KST in run", plan)
    for text in (plan, tool(runner, "show", built.id), tool(runner, "status")):
        for found in re.finditer(r"\b\d\d:\d\d\b(:\d\d)?", text):
            assert text[found.end() :].startswith((" KST", '"')), text[found.start() - 40 :]


def test_the_runners_log_has_levels_and_the_teams_time(runner: Runner, built: Run) -> None:

    def ends() -> list[str] | str:  # it is logged after the ledger has it
        lines = runner.log("runner").splitlines()
        return [one for one in lines if f"run {built.id}: Error" in one] or "not yet"

    (ended,) = wait_until("the end to be logged", ends)
    lines = runner.log("runner").splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} KST ERROR mage_dbt\.", ended)
    (asked,) = [one for one in lines if f"run {built.id}: build for test" in one]
    assert " KST INFO " in asked


def test_what_dbt_warns_of_keeps_its_level_and_says_of_which_model(
    runner: Runner, built: Run
) -> None:
    progress = report.Progress()
    lines = [line for one in runner.client.follow(built.id, print) for line in progress.lines(one)]
    levels = {line.text: line.level for line in lines}
    (warning,) = [one for one in levels if "apart is a sketch" in one]
    assert warning.startswith("dbt warning: apart: ") and levels[warning] == logging.WARNING
    for text, level in levels.items():
        failed = bool(re.match(r"\d+/\d+  (error|fail) ", text)) or text.startswith("Error  ")
        assert failed == (level == logging.ERROR), text


def test_the_status_calls_a_seed_a_seed(runner: Runner, built: Run) -> None:
    status = runner.client.status().to_json()["live"]
    assert status["models"] == 16
    assert "1 seed" in status["holds"] and "16 models" in status["holds"]
