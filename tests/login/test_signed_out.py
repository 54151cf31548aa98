"""The runner's page in a browser behind the real proxy, when the sign-in runs out."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.harness.login import WithLogin


def test_a_sign_in_that_runs_out_loses_nothing_that_was_typed(
    with_login: WithLogin, page: Page
) -> None:
    people = with_login.login.people
    page.goto(f"{people}/runner/ask/run?model=apart")
    page.get_by_role("button", name="Ana", exact=True).click()
    page.wait_for_url(f"{people}/runner/ask/run?model=apart")  # and for the script of its forms
    page.get_by_role("button", name="Run", exact=True).wait_for()
    page.get_by_label("Why").fill("late data")

    page.context.clear_cookies()
    page.get_by_role("button", name="Run", exact=True).click()
    notice = page.get_by_role("alert").filter(has_text="not signed in any more")
    notice.wait_for()
    assert page.url == f"{people}/runner/ask/run?model=apart"
    assert page.get_by_label("Why").input_value() == "late data"

    with page.context.expect_page() as opened:
        notice.get_by_role("link").click()
    tab = opened.value
    tab.get_by_role("button", name="Ana", exact=True).click()
    tab.wait_for_url(f"{people}/runner/")
    tab.close()

    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url(f"{people}/runner/runs/*")
    page.get_by_text("late data").first.wait_for()


def test_the_address_of_a_form_leads_back_to_its_page_after_a_sign_in(
    with_login: WithLogin, page: Page
) -> None:
    people = with_login.login.people
    page.goto(f"{people}/runner/ask/cancel?run=20261123-080000-4f2a9c")
    page.get_by_role("button", name="Ana", exact=True).click()
    page.get_by_role("heading", name="Nothing was sent").wait_for()
    page.get_by_role("link", name="Back to where it was").click()
    page.wait_for_url(f"{people}/runner/runs/20261123-080000-4f2a9c")


def test_the_page_is_live_through_the_proxy(with_login: WithLogin, page: Page) -> None:
    people = with_login.login.people
    page.goto(f"{people}/runner")
    page.get_by_role("button", name="Ana", exact=True).click()
    page.wait_for_url(f"{people}/runner/")
    with with_login.login.sign_in("otto@example.com") as otto:
        pause = {"paused": True, "why": "inventory"}
        headers = {"Origin": people}
        answer = otto.put("/runner/v1/schedule", json=pause, headers=headers)
        assert answer.status_code == 200, answer.text
        paused = page.get_by_text("The daily build is paused until somebody ends the pause.")
        paused.wait_for()
        otto.put("/runner/v1/schedule", json={"paused": False}, headers=headers)
        paused.wait_for(state="detached")
