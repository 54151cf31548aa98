"""On a Korean page nothing of the workspace's own stays English.

What does is names, SQL, and the words of the database, of dbt and of people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx
import pytest

from mage_dbt.model.run import Run, RunState
from mage_dbt.server.pages.sentences import PLACE, Template, pieces, template
from tests.harness import runner as runners
from tests.harness import sentences as code
from tests.harness.database import Database
from tests.harness.forms import Document
from tests.harness.models import BROKEN, FACTS, sleepy
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

PROJECT = "steps"

ADDED = FACTS.replace("    amount\n", "    amount,\n    amount * 2 as double\n")

SHORTEST = 2
"""Words by which a sentence is told to be one of the code's."""

CODE = ("pre", "code", "script", "style", "datalist")

READ_ALOUD = ("title", "aria-label", "placeholder", "alt")

THEIR_OWN = ("explain", "model/plain_words", "server/schemas", "server/openapi", "mage", "launcher")
"""Files with patterns of others' messages, or whose sentences no page has."""


class Texts(HTMLParser):
    """What people read or hear of a page, without code."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._code = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._code += tag in CODE
        self.found += [value or "" for name, value in attrs if name in READ_ALOUD]

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in CODE

    def handle_data(self, data: str) -> None:
        if not self._code:
            self.found.append(" ".join(data.split()))


@pytest.fixture(scope="module")
def said_by_the_code() -> list[Template]:
    found = {
        text
        for file in code.PACKAGE.rglob("*.py")
        if not str(file.relative_to(code.PACKAGE)).startswith(THEIR_OWN)
        for _, text, _ in code.sentences(file)
        if len(re.findall("(?:^| )[A-Za-z]{2,}", PLACE.sub("", text))) >= SHORTEST
    }
    return [template(text, "") for text in sorted(found)]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, server: Database) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("language")
    with runners.on_project(folder, server, PROJECT, **runners.due_at_midnight()) as found:
        yield found


@pytest.fixture(scope="module")
def browser(runner: Runner) -> Iterator[httpx.Client]:
    address = f"http://127.0.0.1:{runner.settings.runner_port}"
    with httpx.Client(base_url=address, timeout=SECONDS, trust_env=False) as client:
        yield client


def until_it_waits(runner: Runner, run: Run) -> None:
    def probe() -> bool | str:
        now = runner.client.run(run.id)
        return bool(now.detail) or str(now.state)

    wait_until(f"run {run.id} to say what it waits for", probe)


@pytest.fixture(scope="module")
def history(runner: Runner) -> list[str]:
    """The addresses of all pages after a day on which much went on."""
    runner.daily_build()
    runner.publish("kim0", facts=BROKEN, apart=None, reader="select * from {{ ref('facts') }}")
    failed = runner.run(caller="kim")
    assert failed.state is RunState.ERROR
    runner.run(operation="rerun_failed", of=failed.id, caller="kim")
    runner.run(select="no_such_model", cause="api", caller="bot")
    runner.run(select="tag:none", exclude="facts", caller="kim")
    runner.publish("kim1", facts=ADDED, sleepy=sleepy())
    runner.surveyed()
    held = runner.ask(operation="full_refresh", models="facts", show_first=True, caller="kim")

    def holds() -> bool | str:
        now = runner.client.run(held.id)
        return now.holds or str(now.state)

    wait_until("the refresh to wait for a decision", holds)
    waits = runner.ask(models="facts", caller="lee")
    until_it_waits(runner, waits)
    long = runner.ask(models="sleepy", caller="lee")
    runner.running(long, "pg_sleep")
    second = runner.ask(models="sleepy", caller="kim")
    until_it_waits(runner, second)
    runner.client.cancel(second.id, "kim")
    runner.over(second)
    (runner.repository / "models" / "facts.sql").write_text("select {{ nothing( }}")
    runner.broken(runner.commit("kim2"))
    runs = [run.id for run in runner.client.runs(limit=50)]
    steps = [f"/runs/{failed.id}/nodes/{node.node}" for node in failed.nodes]
    asked = [
        f"/ask/{what}?model={model}"
        for what in ("run", "refresh", "undo")
        for model in ("facts", "facts_view", "numbers", "labels", "nothing")
    ]
    return [
        *("/", "/runs", "/models", "/commits", "/settings", "/docs/", "/runs?state=none"),
        *("/runs?since=never", "/runs/none", "/models/none", "/ask/rerun", "/models/apart"),
        *(f"/models/{name}" for name in ("facts", "facts_view", "numbers", "labels", "sleepy")),
        *(f"/ask/rerun?run={run}" for run in runs),
        *asked,
        *(f"/runs/{run}" for run in runs),
        *steps,
    ]


def of_the_code(
    pages: httpx.Client, language: str, paths: list[str], said: list[Template]
) -> dict[str, str]:
    """The code's sentences on these pages, in English, each with a page."""
    found: dict[str, str] = {}
    for path in paths:
        html = pages.get(path, headers={"Accept-Language": language}).text
        if further := Document(html).goes_on:
            html = pages.get(further, headers={"Accept-Language": language}).text
        assert "<html" in html, f"{path}: {html[:200]}"
        for text in Texts(html).found:
            for piece in pieces(text):
                if piece not in found and any(known.values(piece) is not None for known in said):
                    found[piece] = path
    return found


def test_no_sentence_of_the_workspace_stays_english(
    browser: httpx.Client, history: list[str], said_by_the_code: list[Template]
) -> None:
    assert len(of_the_code(browser, "en", history, said_by_the_code)) > 20, "so they are found"
    assert not of_the_code(browser, "ko", history, said_by_the_code)
