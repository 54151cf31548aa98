"""The page Settings: the daily build's time and pause, and a test message, by its forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.harness.runner import Runner
from tests.harness.services import service
from tests.harness.waiting import SECONDS

PROJECT = "steps"


@pytest.fixture
def browser(runner: Runner) -> Iterator[httpx.Client]:
    """A browser on this machine; the schedule is as the settings say."""
    address = f"http://127.0.0.1:{runner.settings.runner_port}"
    with httpx.Client(base_url=address, trust_env=False, timeout=SECONDS) as client:
        client.headers["Origin"] = address
        runner.client.change_schedule(reset=True)
        yield client


def send(browser: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """Sends a form of the page with its token; follows where it leads."""
    text = browser.get("/settings").text
    hidden = re.search(r'<input type="hidden" name="(\w+)" value="([^"]+)">', text)
    assert hidden
    form = {hidden[1]: hidden[2], **fields}
    return browser.post(f"/settings/{path}", data=form, follow_redirects=True)


def test_the_page_says_when_in_words_and_what_comes_next(browser: httpx.Client) -> None:
    page = browser.get("/settings")
    assert page.status_code == 200
    assert "<h1>Every day at 08:00 Korean Standard Time (Asia/Seoul)</h1>" in page.text
    assert "when it is not over by 09:00" in page.text
    assert page.text.count("<time ") >= 3
    assert "Nobody gets alerts yet" in page.text
    korean = browser.get("/settings", headers={"Accept-Language": "ko"}).text
    assert "<h1>매일 08:00, 대한민국 표준시 (Asia/Seoul)</h1>" in korean
    data = browser.get("/settings.json").json()
    assert data["schedule"]["schedule"]["build_at"] == "08:00"
    assert data["reader"]["role"] == "owner" and data["alerts"]["sent"] == []


def test_another_time_and_the_way_back(runner: Runner, browser: httpx.Client) -> None:
    page = send(browser, "schedule", change="time", build_at="09:30", why="late <b>source</b>")
    assert page.status_code == 200 and page.url.path == "/settings"
    assert "Saved." in page.text and "<h1>Every day at 09:30 Korean" in page.text
    assert "late &lt;b&gt;source&lt;/b&gt;" in page.text and "<b>source" not in page.text
    assert "Back to the settings, 08:00" in page.text
    assert runner.client.status().schedule == runner.client.schedule().schedule
    back = send(browser, "schedule", change="reset")
    assert "<h1>Every day at 08:00 Korean" in back.text and "as the settings say" in back.text


def test_that_a_time_which_has_passed_begins_the_build_is_said_before(
    runner: Runner, browser: httpx.Client
) -> None:
    words = "A time that has passed today begins it at once."
    # 40 minutes ahead and behind, where that is the same date.
    now = datetime.now(ZoneInfo("Asia/Seoul"))
    soon, ago = now + timedelta(minutes=40), now - timedelta(minutes=40)
    if soon.date() == ago.date():
        ahead = send(browser, "schedule", change="time", build_at=f"{soon:%H:%M}")
        assert runner.client.schedule().today == "comes" and words in ahead.text
        begun = send(browser, "schedule", change="time", build_at=f"{ago:%H:%M}")
        assert runner.client.schedule().today == "late" and words not in begun.text
        assert "it begins now, late" in begun.text
        assert "it begins now, late" in runner.tool("schedule")
    assert "begins today's build now" in " ".join(runner.tool("schedule", "--help").split())


def test_a_pause_with_its_end_and_reason_and_its_end_by_hand(
    runner: Runner, browser: httpx.Client
) -> None:
    day = datetime.now(ZoneInfo("Asia/Seoul")).date() + timedelta(days=1)
    page = send(
        browser, "schedule", change="pause", paused_until=f"{day}T12:00", why="the warehouse moves"
    )
    assert "The daily build is paused until tomorrow 12:00" in page.text
    assert "the warehouse moves" in page.text
    schedule = runner.client.schedule().schedule
    assert schedule.paused and schedule.pause_set and schedule.pause_set.why
    ended = send(browser, "schedule", change="resume")
    assert "<h1>Every day at 08:00" in ended.text and "no longer paused" in ended.text


def test_another_reason_for_a_pause_is_kept_and_saved_is_no_word_of_the_address(
    runner: Runner, browser: httpx.Client
) -> None:
    send(browser, "schedule", change="pause", why="the warehouse moves")
    page = send(browser, "schedule", change="pause", why="it moves until Friday")
    assert "Saved." in page.text
    schedule = runner.client.schedule().schedule
    assert schedule.pause_set and schedule.pause_set.why == "it moves until Friday"
    send(browser, "schedule", change="time", build_at="09:30", why="a later source")
    schedule = runner.client.schedule().schedule
    assert schedule.pause_set and schedule.pause_set.why == "it moves until Friday"
    again = send(browser, "schedule", change="pause", why="it moves until Friday")
    assert "Saved." not in again.text and "nothing was changed" in again.text
    runner.client.change_schedule(reset=True)
    assert "Saved." not in browser.get("/settings?saved=pause").text


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"change": "pause", "why": ""}, "A pause needs a reason."),
        ({"change": "pause", "why": "x", "paused_until": "2020-01-01T00:00"}, "which is over"),
        ({"change": "time", "build_at": "25:00"}, "`build_at`"),
        ({"change": "time"}, "`build_at`"),
        ({"change": "zone"}, "does not say what to change"),
        ({}, "does not say what to change"),
    ],
    ids=str,
)
def test_what_cannot_be_set_stays_in_the_form_with_the_reason(
    runner: Runner, browser: httpx.Client, fields: dict[str, str], says: str
) -> None:
    before = runner.client.schedule().schedule
    page = send(browser, "schedule", **fields)
    assert page.status_code == 422 and says in page.text
    assert page.headers["content-type"].startswith("text/html")
    assert runner.client.schedule().schedule == before
    card = "pause" if fields.get("change") == "pause" else "change"
    beside = page.text.partition(f'aria-labelledby="{card}"')[2].partition("</section>")[0]
    assert says in beside and page.text.count('<p class="bad" role="alert">') == 1


def test_a_form_without_its_token_changes_nothing(runner: Runner, browser: httpx.Client) -> None:
    for path in ("schedule", "alert-test"):
        form = {"change": "time", "build_at": "01:00"}
        assert browser.post(f"/settings/{path}", data=form).status_code == 403
    assert f"{runner.client.schedule().schedule.build_at:%H:%M}" == "08:00"


def test_a_test_message_says_of_each_channel_whether_it_arrived(
    runner: Runner, browser: httpx.Client
) -> None:
    assert "Nobody gets alerts yet" in send(browser, "alert-test").text
    with service() as well, service(status=403) as badly:
        runner.home.alert_urls.write_text(f"{well.address('hush')}\n{badly.address('hush')}")
        # Both at once: the second comes too soon, however slow the machine is.
        with ThreadPoolExecutor(2) as both:
            answers = list(both.map(lambda _: send(browser, "alert-test"), range(2)))
        runner.home.alert_urls.unlink()
    page, again = sorted(answers, key=lambda answer: answer.status_code)
    assert page.status_code == 200
    assert 'line 1, JSON: <span class="good">delivered' in page.text
    assert "line 2, JSON" in page.text and "it answered 403" in page.text
    assert "hush" not in page.text and well.titles() == ["mage-dbt: this channel works"]
    assert again.status_code == 429 and "was sent just now" in again.text
