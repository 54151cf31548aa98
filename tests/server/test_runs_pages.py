"""The pages of runs: history, one run, one node, and how far a run is while it goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import httpx
import pytest

from mage_dbt.model.run import Run, RunState
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Page as BrowserPage

PROJECT = "steps"

HOSTILE = "<script>alert(1)</script>\"'&"

HELD = "select {} as id from (select pg_advisory_xact_lock_shared(4711)) as held"
"""A model that is built once nobody holds the lock."""


@pytest.fixture
def browser(runner: Runner) -> Iterator[httpx.Client]:
    """A browser on this machine that asks for English."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{runner.settings.runner_port}",
        headers={"Accept-Language": "en"},
        trust_env=False,
        timeout=SECONDS,
    ) as client:
        yield client


@pytest.fixture(scope="module")
def failed(runner: Runner) -> Run:
    """A build of everything on a commit with a hostile subject, in which a model fails."""
    runner.publish(
        f"Break it {HOSTILE}",
        broken=f"select '{HOSTILE.replace(chr(39), '')}' / 0",
        reader="select * from {{ ref('broken') }}",
    )
    run = runner.run(why=f"to see {HOSTILE}", caller=f"kim {HOSTILE}")
    assert run.state is RunState.ERROR
    return run


@pytest.fixture(scope="module")
def repaired(runner: Runner, failed: Run) -> Run:
    """A rerun that puts it right on a later commit."""
    runner.publish("Mend it", broken="select 1 as id")
    run = runner.run(operation="rerun_failed", of=failed.id, caller="lee")
    assert run.state is RunState.SUCCESS, run.detail
    return run


@pytest.fixture(scope="module")
def totals(runner: Runner, repaired: Run) -> Run:
    return runner.run(operation="build", models=["totals"], with_upstream=True)


def text_of(html: str) -> str:
    """What a reader sees of a page, in one line."""
    plain = re.sub(r"<(script|style|datalist|dialog)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", re.sub("</?bdi>", "", plain))).split())


def page(browser: httpx.Client, path: str, **query: str) -> str:
    answer = browser.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.text


def listed(html: str) -> list[str]:
    """The runs of the history, in order."""
    table = html.partition('<table class="runs">')[2].partition("</table>")[0]
    return re.findall(r'href="/runs/(\d{8}-\d{6}-[0-9a-f]{6})"', table)


# ------------------------------------------------------------------ history


def test_the_history_says_in_words_what_ran(
    runner: Runner, browser: httpx.Client, failed: Run, repaired: Run, totals: Run
) -> None:
    html = page(browser, "/runs")
    assert listed(html) == [run.id for run in runner.client.runs(50)]
    text = text_of(html)
    assert "totals and what it reads test command line Success" in text
    assert "Rerun of what failed in: Build of everything lee" in text
    assert f"Build of everything kim {HOSTILE} “to see {HOSTILE}” command line Error" in text


def test_the_history_in_korean(browser: httpx.Client, failed: Run, totals: Run) -> None:
    answer = browser.get("/runs", headers={"Accept-Language": "ko"})
    text = text_of(answer.text)
    assert "totals, 상위 모델 포함" in text
    assert "전체 빌드" in text
    assert "실행 기록" in text


def test_filters_live_in_the_address(
    browser: httpx.Client, runner: Runner, failed: Run, repaired: Run, totals: Run
) -> None:
    # Midnight may have passed since the first of them.
    zone = ZoneInfo(runner.settings.daily_build_timezone)
    first, last = (run.asked_at.astimezone(zone).date() for run in (failed, totals))
    later = str(last + timedelta(days=1))
    expected: dict[tuple[str, str], list[str]] = {
        ("state", "Error"): [failed.id],
        ("operation", "rerun_failed"): [repaired.id],
        ("caller", "lee"): [repaired.id],
        ("commit", failed.commit[:8]): [failed.id],
        ("node", "model.steps.totals"): [totals.id, failed.id],
        ("node", "reader"): [repaired.id, failed.id],
        ("since", str(first)): [totals.id, repaired.id, failed.id],
        ("until", str(last)): [totals.id, repaired.id, failed.id],
        ("since", later): [],
        ("state", "Running"): [],
        ("state", "Cancelled"): [],
        ("daily", "yes"): [],
    }
    for (name, value), runs in expected.items():
        html = page(browser, "/runs", **{name: value})
        assert listed(html) == runs, (name, value)
        if not runs:
            assert "No run matches this." in text_of(html)
    # A form sends its empty fields too.
    html = page(browser, "/runs", state="Error", caller="", node="", since="", until="")
    assert listed(html) == [failed.id]


def test_a_filter_that_means_nothing_says_why(browser: httpx.Client, failed: Run) -> None:
    answer = browser.get("/runs", params={"commit": "<b>zz"})
    assert answer.status_code == 422
    assert "beginning of a SHA" in text_of(answer.text)
    assert "<b>zz" not in answer.text
    problem = browser.get("/runs.json", params={"commit": "zz"})
    assert problem.status_code == 422
    assert problem.headers["content-type"] == "application/problem+json"


def test_the_json_of_the_history_is_that_of_the_api(
    runner: Runner, browser: httpx.Client, totals: Run
) -> None:
    found = browser.get("/runs.json", params={"state": "Error"}).json()
    token = runner.home.api_token.read_text().strip()
    asked = browser.get(
        "/v1/runs", params={"state": "Error"}, headers={"Authorization": f"Bearer {token}"}
    )
    assert found["runs"] == asked.json()["runs"]
    assert found["next"] is None


# -------------------------------------------------------------------- a run


def test_a_failed_run_says_that_it_was_put_right_and_how(
    browser: httpx.Client, failed: Run, repaired: Run
) -> None:
    html = page(browser, f"/runs/{failed.id}")
    text = text_of(html)
    assert "Put right Build of everything" in text
    clock = r"(?:yesterday )?\d\d:\d\d"  # midnight may have passed
    assert re.search(
        rf"{clock} asked by kim .* → {clock} failed \(broken\) → {clock} put right by a rerun of "
        rf"lee, commit {repaired.commit[:7]} · (\d+) of \1 passed",
        text,
    ), text
    assert 'invalid input syntax for type integer: "<script>' in text
    assert "Skipped because of broken (models: 1, tests: 0)" in text
    assert f'href="/runs/{repaired.id}"' in html
    assert "Rerun what failed" not in text, "nothing is left to rerun"
    for figure in ("Whole time", "Critical path", "Nodes at once", "Rows written"):
        assert figure in text


def test_a_failed_run_in_korean(browser: httpx.Client, failed: Run, repaired: Run) -> None:
    html = browser.get(f"/runs/{failed.id}", headers={"Accept-Language": "ko"}).text
    text = text_of(html)
    assert "복구됨 전체 빌드" in text
    assert "실패 (broken)" in text
    assert "broken 때문에 건너뜀 (모델 1개, 테스트 0개)" in text


def test_the_timetable_has_a_bar_for_each_executed_node(browser: httpx.Client, totals: Run) -> None:
    html = page(browser, f"/runs/{totals.id}")
    svg = html.partition("<svg")[2].partition("</svg>")[0]
    executed = {node.node for node in totals.nodes if node.status != "skipped"}
    assert set(re.findall(r'href="/(?:models|runs/[^/"]+/nodes)/([^"]+)"', svg)) == executed
    assert 'class="bar critical"' in svg


def test_hostile_names_messages_and_subjects_are_texts(browser: httpx.Client, failed: Run) -> None:
    for path in ("/runs", f"/runs/{failed.id}", f"/runs/{failed.id}/nodes/broken"):
        html = page(browser, path)
        assert "<script>alert" not in html
        assert html.count("<script") == html.count("<script nonce=")
    assert HOSTILE in text_of(page(browser, f"/runs/{failed.id}"))


def test_the_json_of_a_run_is_that_of_the_api_with_its_explanation(
    runner: Runner, browser: httpx.Client, failed: Run, repaired: Run
) -> None:
    found = browser.get(f"/runs/{failed.id}.json").json()
    explanation = found.pop("explanation")
    headers = {"Authorization": f"Bearer {runner.home.api_token.read_text().strip()}"}
    asked = browser.get(f"/v1/runs/{failed.id}", headers=headers).json()
    assert found == asked
    assert [cause["nodes"][0]["name"] for cause in explanation["causes"]] == ["broken"]


def test_a_nodes_page_has_its_message_and_its_sql_with_the_line(
    browser: httpx.Client, failed: Run
) -> None:
    html = page(browser, f"/runs/{failed.id}/nodes/broken")
    text = text_of(html)
    assert "invalid input syntax for type integer" in text
    assert '<pre class="numbered"' in html
    detail = browser.get(f"/runs/{failed.id}/nodes/broken.json").json()
    assert detail["status"] == "error"
    assert detail["compiled_sql"] in unescape(html)
    skipped = text_of(page(browser, f"/runs/{failed.id}/nodes/reader"))
    assert "Skipped because of broken" in skipped
    assert "dbt did not begin with this node" in skipped


@pytest.mark.parametrize("path", ["/runs/20200101-000000-abcdef", "/runs/no%20such<b>"])
def test_an_unknown_run_is_a_page_with_the_way_back(browser: httpx.Client, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404
    assert "in the ledger" in text_of(answer.text)
    assert 'href="/"' in answer.text
    assert "such<b>" not in answer.text
    problem = browser.get(f"{path}.json")
    assert problem.status_code == 404
    assert problem.headers["content-type"] == "application/problem+json"


def test_an_unknown_node_is_a_page_that_names_the_nearest(
    browser: httpx.Client, failed: Run
) -> None:
    answer = browser.get(f"/runs/{failed.id}/nodes/brokn")
    assert answer.status_code == 404
    assert "Did you mean broken?" in text_of(answer.text)


# --------------------------------------------------------------------- live


@contextmanager
def held(runner: Runner) -> Iterator[None]:
    """Models of HELD go on when the block is left."""
    with runner.connect("dbt") as connection:
        connection.execute("select pg_advisory_lock(4711)")
        yield


def messages(answer: httpx.Response) -> Iterator[tuple[str, str]]:
    """The events of a stream: kind and data."""
    kind, data = "", []
    for line in answer.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and (kind or data):
            yield kind, "\n".join(data)
            kind, data = "", []


def test_what_a_large_runs_page_does_not_wait_for_comes_as_a_live_part(
    browser: httpx.Client, failed: Run
) -> None:
    html = page(browser, f"/runs/{failed.id}")
    stream = browser.get(f"/live/runs/{failed.id}/rest").text
    part = "\n".join(
        line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data:")
    )
    assert "1 cause" in text_of(part) and "broken" in text_of(part) and 'class="gantt"' in part
    assert re.findall("<h[23]>.*?</h[23]>", part) == [
        head for head in re.findall("<h[23]>.*?</h[23]>", html) if head in part
    ]
    assert "event: over" in stream


def test_a_live_stream_shows_progress_and_ends_and_goes_on_after_a_cut(
    runner: Runner, browser: httpx.Client, totals: Run
) -> None:
    runner.publish("Take long", slow=HELD.format(1), after="select * from {{ ref('slow') }}")
    with held(runner):
        run = runner.ask(operation="build", models=["slow"], with_downstream=True)
        runner.running(run, "pg_advisory_xact_lock_shared")
        with browser.stream("GET", f"/live/runs/{run.id}") as answer:
            looks = (text_of(data) for _, data in messages(answer))
            # The database may have the SQL before the ledger knows of the node.
            first = next(text for text in looks if "Being built now slow since" in text)
        assert "Running since" in first  # and here the connection is cut
        html = page(browser, f"/runs/{run.id}")
        assert "slow and what reads it" in text_of(html)
        assert f'hx-sse:connect="/live/runs/{run.id}"' in html
        assert "0 of 2 done" in text_of(html)
        assert f'action="/ask/cancel?run={run.id}"' in html

    with browser.stream("GET", f"/live/runs/{run.id}") as answer:
        seen = list(messages(answer))
    texts = [text_of(data) for _, data in seen]
    assert seen[-1][0] == "over"
    assert "The run is over: Success." in texts[-2]
    assert f'data-over href="/runs/{run.id}"' in seen[-2][1]
    assert all(len(data) < 20_000 for _, data in seen)
    after = page(browser, f"/runs/{run.id}")
    assert 'hx-sse:connect="/live/runs/' not in after
    assert "data-over" not in after


def test_a_stream_of_a_run_that_is_over_ends_at_once(browser: httpx.Client, totals: Run) -> None:
    with browser.stream("GET", f"/live/runs/{totals.id}") as answer:
        seen = list(messages(answer))
    assert [kind for kind, _ in seen] == ["", "over"]
    with browser.stream("GET", "/live/runs/20200101-000000-abcdef") as answer:
        assert [kind for kind, _ in messages(answer)] == ["over"]


def test_the_heading_says_what_the_live_part_says(
    runner: Runner, totals: Run, page: BrowserPage
) -> None:
    runner.publish("Take long for the heading", slow=HELD.format(3))
    with held(runner):
        first = runner.ask(operation="build", models=["slow"])
        runner.running(first, "pg_advisory_xact_lock_shared")
        second = runner.ask(operation="build", models=["slow"], caller="second")
        page.goto(f"http://127.0.0.1:{runner.settings.runner_port}/runs/{second.id}")
        heading, live = page.locator("h1 .tag"), page.locator("[data-state]")
        live.get_by_text("Queued", exact=True).wait_for()
        heading.get_by_text("Queued", exact=True).wait_for()
        runner.client.cancel(first.id, "test")
        live.get_by_text("Running", exact=True).wait_for()
        heading.get_by_text("Running", exact=True).wait_for()
        runner.client.cancel(second.id, "test")
    heading.get_by_text("Cancelled", exact=True).wait_for()
    page.goto(f"http://127.0.0.1:{runner.settings.runner_port}/runs/{second.id}")
    (card,) = page.locator("section.card h3.happened").all()
    assert " ".join((card.text_content() or "").split()) == "stopped test stopped it."


def test_a_run_that_waits_says_for_whom(runner: Runner, browser: httpx.Client, totals: Run) -> None:
    runner.publish("Take long once more", slow=HELD.format(2))
    with held(runner):
        first = runner.ask(operation="build", models=["slow"])
        runner.running(first, "pg_advisory_xact_lock_shared")
        second = runner.ask(operation="build", models=["slow"], caller="second")
        with browser.stream("GET", f"/live/runs/{second.id}") as answer:
            texts = (text_of(data) for _, data in messages(answer))
            waits = next(text for text in texts if "waiting for" in text)
        assert "Queued since" in waits
        assert "waiting for slow, held by build slow" in waits
    assert runner.over(first).state is RunState.SUCCESS
    assert runner.over(second).state is RunState.SUCCESS
