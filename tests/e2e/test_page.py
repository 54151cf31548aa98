"""An analyst who has never seen dbt does four things on the page, and nothing else is needed.

The same behind a login is in tests/login/test_page.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from mage_dbt.model.run import Run, RunState
from tests.harness import pages
from tests.harness.accessibility import COLORS, violations
from tests.harness.pages import HeldPackage, Team, Visit
from tests.harness.repository import git
from tests.harness.workspace import Workspace

HERE = "somebody at this machine"

FIRST_PAGE_BYTES = 100_000

BREAKS_IN = "<img\tsrc=x\tonerror=window.broken_in=1>"
"""Also a name that dbt and PostgreSQL take for a model's."""

LONG = "long" * 2_500

HOSTILE = f'"><script>window.broken_in=1</script>{BREAKS_IN}\u202ereversed {{{{ 1 }}}} &lt;b&gt;'


@pytest.fixture(scope="module")
def team(workspace: Workspace) -> Iterator[Team]:
    found = Team(workspace)
    yield found
    found.put_right()


@pytest.fixture
def browser(page: Page, team: Team) -> Browser:
    team.healthy()
    assert page.context.browser
    return page.context.browser


@pytest.fixture
def base(workspace: Workspace) -> str:
    return f"http://127.0.0.1:{workspace.settings.runner_port}"


# In English; tests/login/test_page.py does the tasks in Korean.
@pytest.fixture(params=["en", pytest.param("ko", marks=pytest.mark.thorough)])
def visit(request: pytest.FixtureRequest, browser: Browser, base: str) -> Iterator[Visit]:
    """Somebody at this machine; the browser has nothing to complain of."""
    found = Visit(browser, base, request.param)
    yield found
    found.close()
    assert found.complaints == []


@pytest.fixture
def english(browser: Browser, base: str) -> Iterator[Visit]:
    found = Visit(browser, base)
    yield found
    found.close()


@pytest.fixture
def held() -> Iterator[HeldPackage]:
    package = HeldPackage()
    yield package
    package.close()


# ------------------------------------------------------------- the four tasks


def test_a_failed_morning_is_understood_and_put_right(
    visit: Visit, team: Team, held: HeldPackage
) -> None:
    team.failed_morning()
    pages.why_did_it_fail(visit)
    pages.run_it_again(visit, team, held)


def test_one_model_is_found_by_a_few_letters_and_run(visit: Visit, team: Team) -> None:
    pages.run_one_model(visit, team)


def test_a_new_column_is_refreshed_and_undone(visit: Visit, team: Team) -> None:
    pages.add_a_column(visit, team, HERE)


def test_what_runs_and_what_waits_is_shown_live_and_stopped(visit: Visit, team: Team) -> None:
    pages.what_is_running(visit, team)


# ------------------------------------------------------------ for everybody


def addresses(build: Run, model: str) -> list[str]:
    """Every page, of a build that failed and of a model."""
    return [
        *("/", "/runs", f"/runs/{build.id}", f"/runs/{build.id}/nodes/{model}", "/models"),
        *(f"/models/{model}", "/commits", "/settings", f"/ask/rerun?run={build.id}", "/ask/run"),
        *(f"/ask/run?model={model}", f"/ask/refresh?model={model}", "/runs/none"),
        *(f"/ask/refresh?model={model}&in_place=yes", f"/ask/undo?model={model}"),
    ]


NOT_FOUND = "(Not Found)"
"""A browser's complaint of a run that is not there."""

NOTHING_TO_UNDO = "(Unprocessable Entity)"
"""Its complaint of an undo that is refused before the page is sent; later the page says it."""

LOOKS = (
    *(("light", 1280, ()), ("dark", 1280, COLORS)),
    *(("dark", 360, COLORS), ("light", 360, ())),
)
"""Themes and widths of window, with the rules to go by: a theme changes nothing but colours."""


def unfold(page: Page) -> None:
    """Opens all that is folded, once the plan is there, which may come later than its page."""
    expect(page.locator("#plan a[href*='whole=']")).to_have_count(0)
    for details in page.locator("details").all():
        details.evaluate("element => element.open = true")


def wrong_on(visit: Visit) -> list[str]:
    """What axe-core finds on the open page, in each theme and at each width."""
    page, wrong = visit.page, []
    unfold(page)
    for scheme, width, rules in LOOKS:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        wrong += [f"{page.url} {scheme} {width}: {found}" for found in violations(page, rules)]
        visit.assert_fits(width)
    return wrong


def documentation_is_made(workspace: Workspace, first: Visit, second: Visit) -> Iterator[None]:
    """Its page in both browsers before it is made, while it is, and when it is there."""
    first.open("/docs/")
    second.open("/docs/")
    yield
    with workspace.catalog_held():
        first.button("Make it").click()
        expect(first.page.locator("#docs-making")).to_be_visible()
        second.open("/docs/")
        expect(second.page.locator("#docs-making")).to_be_visible()
        yield
    for visit in (first, second):
        expect(visit.page.locator("#docs-frame")).to_be_visible()  # the page looks by itself
    yield


def test_every_page_is_usable_by_everybody(browser: Browser, base: str, team: Team) -> None:
    assert team.workspace.run(operation="full_refresh", models="facts").state is RunState.SUCCESS
    build = team.failed_morning()
    visits = [Visit(browser, base, language) for language in ("en", "ko")]
    begun, wrong = time.monotonic(), []
    paths = addresses(build, "model.steps.facts")
    for visit in visits:
        for path in paths:
            visit.open(path)
            wrong += wrong_on(visit)
    # dbt's own page, in the frame of the last, complains of what its sandbox forbids.
    complaints = [text for visit in visits for text in visit.complaints if NOT_FOUND not in text]
    for _ in documentation_is_made(team.workspace, *visits):
        for visit in visits:
            wrong += wrong_on(visit)
    print(f"\n{len(paths) + 3} pages in two languages: {time.monotonic() - begun:.0f} s")
    assert (wrong, complaints) == ([], [])
    for visit in visits:
        visit.close()


def test_the_first_page_is_light_and_its_keys_work(english: Visit, team: Team) -> None:
    team.failed_morning()
    sizes: list[int] = []
    english.page.on("requestfinished", lambda request: sizes.append(_transferred(request)))
    page = english.open()
    expect(page.locator("#cause-1")).to_be_visible()
    page.wait_for_load_state("load")
    total = sum(sizes)
    print(f"\nthe first page: {total:,} bytes in {len(sizes)} answers")
    assert 10_000 < total < FIRST_PAGE_BYTES
    page.keyboard.press("j")
    expect(page.locator("#cause-1")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("#cause-1")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("combobox")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("combobox")).not_to_be_visible()
    assert english.complaints == []


def _transferred(request: Request) -> int:
    sizes = request.sizes()
    return sizes["responseBodySize"] + sizes["responseHeadersSize"]


def test_a_lost_connection_is_told_and_taken_up_again(english: Visit, team: Team) -> None:
    page = english.open()
    english.is_same_page()
    offline = page.locator("#offline")
    expect(offline).to_be_hidden()
    # It may be shown so shortly that one look misses it.
    page.evaluate(
        "new MutationObserver(() => { window.wasOffline ||= !offline.hidden; })"
        ".observe(document.getElementById('offline'), {attributes: true})"
    )
    team.workspace.kill_and_wait("runner")
    team.workspace.answering()
    page.wait_for_function("window.wasOffline === true")
    expect(offline).to_be_hidden()
    team.workspace.publish("After the connection was lost")
    expect(page.locator("#strip")).to_contain_text("After the connection was lost")
    english.assert_not_reloaded()


# ------------------------------------------------------------------- hostile


@pytest.fixture
def hostile(team: Team, browser: Browser) -> Run:
    """A build of models, by people and with rows that try to break into the page."""
    names = {
        BREAKS_IN: f"select '{HOSTILE}' as id",
        "throws": f"select cast($a${HOSTILE} {LONG}$a$ as int) as id",
        "rows": f'select $a${HOSTILE}$a$ as "{BREAKS_IN}", $a${LONG}$a$ as word',
    }
    for name, text in names.items():
        team.write(f"models/{name}.sql", "{% raw %}" + text + "{% endraw %}")
    team.write("tests/no_rows.sql", "select * from {{ ref('rows') }}")
    description = f"{HOSTILE} [link](javascript:window.broken_in=1) {LONG}"
    team.write(
        "models/hostile.yml",
        json.dumps({"models": [{"name": "throws", "description": description}]}),
    )
    repository = team.workspace.repository
    git(repository, "add", "--all")
    author = "img src=x onerror=window.broken_in=1 \u202e <kim@example.com>"
    git(repository, "commit", "--quiet", "--author", author, "--message", f"{HOSTILE} {LONG[:300]}")
    team.workspace.live(git(repository, "rev-parse", "HEAD"))
    build = team.workspace.run(
        why=HOSTILE.replace("\u202e", ""), caller=BREAKS_IN.replace("\t", " ")
    )
    assert build.state is RunState.ERROR
    failed = {node.name for node in build.nodes if node.status in ("error", "fail")}
    assert {"throws", "no_rows"} <= failed, build.detail
    return build


def test_nothing_that_others_wrote_runs_or_breaks_the_page(
    hostile: Run, browser: Browser, base: str
) -> None:
    visit = Visit(browser, base, viewport={"width": 360, "height": 800})
    dialogs: list[str] = []
    visit.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    for node in (f"model.steps.{BREAKS_IN}", "model.steps.throws"):
        for path in addresses(hostile, quote(node)):
            page = visit.open(path)
            unfold(page)
            assert page.evaluate("typeof window.broken_in") == "undefined", path
            assert page.locator("img").count() == 0, path
            visit.assert_fits(360)
    page = visit.open()
    page.keyboard.press("/")
    page.keyboard.type("img")
    expect(page.get_by_role("option").first).to_contain_text(BREAKS_IN.replace("\t", " "))
    assert page.evaluate("typeof window.broken_in") == "undefined"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(BREAKS_IN.replace("\t", " "))
    assert page.evaluate("typeof window.broken_in") == "undefined"
    assert dialogs == []
    for text in visit.complaints:
        assert NOT_FOUND in text or (NOTHING_TO_UNDO in text and "/ask/undo?" in text)
    visit.close()
