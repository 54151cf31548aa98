"""Takes the pictures of the page that the documents show, after a failed morning of the demo.

    ./scripts/test tests/e2e/page_screenshots.py

Look at each before you commit it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from playwright.sync_api import Page, expect

from mage_dbt.model.run import Run, RunState
from mage_dbt.settings import CHECKOUT
from tests.harness.pages import Visit
from tests.harness.repository import git
from tests.harness.waiting import wait_until
from tests.harness.workspace import Workspace

DOCS = CHECKOUT / "docs"

PHONE = {"width": 360, "height": 780}


def where_it_is_morning() -> str:
    """A zone in which the hour of the daily build is now; Seoul when it is one."""
    zones = ("Asia/Seoul", *sorted(name for name in available_timezones() if "/" in name))
    return next(name for name in zones if datetime.now(ZoneInfo(name)).hour == 8)


def daily_build(workspace: Workspace) -> Run:
    """Lets the daily build begin at the next minute but one, by its schedule, and waits for it."""
    zone = ZoneInfo(workspace.settings.daily_build_timezone)
    due = datetime.now(zone) + timedelta(minutes=2)
    workspace.client.change_schedule(build_at=f"{due:%H:%M}", by="Park Jiho")

    def probe() -> Run | str:
        found = [run for run in workspace.client.runs(limit=20) if run.morning]
        return found[0] if found and found[0].state.final else "no daily build that is over"

    return wait_until("the daily build to be over", probe, 300)


def commit(workspace: Workspace, author: str, message: str, **changes: tuple[str, str]) -> str:
    """Replaces a text in each of these models, as somebody of the team."""
    for name, (before, after) in changes.items():
        (path,) = (workspace.repository / "models").rglob(f"{name}.sql")
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))
    who = f"{author} <{author.split()[0].lower()}@example.com>"
    git(workspace.repository, "commit", "--quiet", "--all", "--author", who, "--message", message)
    sha = git(workspace.repository, "rev-parse", "HEAD")
    workspace.live(sha)
    return sha


def test_the_pictures_of_the_documents(new_workspace: Workspace, page: Page) -> None:
    workspace = new_workspace
    workspace.environ["DAILY_BUILD_TIMEZONE"] = where_it_is_morning()
    workspace.start_and_wait()
    workspace.repository = workspace.home.demo_repository
    browser = page.context.browser
    assert browser
    base = f"http://127.0.0.1:{workspace.settings.runner_port}"

    rename = ("    discount_code,\n", "    discount_code as promo_code,\n")
    commit(workspace, "Kim Minji", "Rename discount code to promo code", stg_orders=rename)
    build = daily_build(workspace)
    assert build.state is RunState.ERROR

    desk = Visit(browser, base, viewport={"width": 1280, "height": 900})
    desk.open()
    expect(desk.page.locator("#cause-1")).to_be_visible()
    desk.page.screenshot(path=DOCS / "page-now.png")
    desk.page.locator("#cause-1").screenshot(path=DOCS / "page-card.png")
    phone = Visit(browser, base, viewport=PHONE, device_scale_factor=2)
    phone.open()
    expect(phone.page.locator("#cause-1")).to_be_visible()
    phone.page.screenshot(path=DOCS / "page-now-phone.png")
    korean = Visit(browser, base, "ko", viewport={"width": 1280, "height": 900})
    korean.open(f"/runs/{build.id}")
    expect(korean.page.locator("#cause-1")).to_be_visible()
    korean.page.screenshot(path=DOCS / "page-run-ko.png")

    back = (rename[1], rename[0])
    commit(workspace, "Kim Minji", "Call it discount code again", stg_orders=back)
    assert workspace.run(operation="rerun_failed", of=build.id).state is RunState.SUCCESS
    column = (
        "    orders.order_id,\n",
        "    orders.order_id,\n    orders.sales_channel = 'web' as is_web,\n",
    )
    commit(workspace, "Park Jiho", "Tell which orders came from the web", fct_orders=column)
    desk.open("/ask/refresh?model=fct_orders")
    desk.click(desk.button("Refresh, and show me first"))
    expect(desk.button("Swap")).to_be_visible()
    expect(desk.page.get_by_text("It waits for somebody’s decision to swap.")).to_be_visible()
    desk.page.screenshot(path=DOCS / "page-refresh.png")
    for visit in (desk, phone, korean):
        visit.close()
