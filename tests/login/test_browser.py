"""People with nothing but a browser sign in, see who they are, and sign out again."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.harness.login import WithLogin


def test_ana_signs_in_sees_the_pipelines_and_signs_out(with_login: WithLogin, page: Page) -> None:
    people = with_login.login.people
    page.goto(f"{people}/pipelines")
    # The provider's page, at another address.
    page.get_by_text("Who are you?").wait_for()
    assert page.url.startswith(with_login.login.provider)
    page.get_by_role("button", name="Ana", exact=True).click()
    page.get_by_text("daily_full_build").first.wait_for()
    assert page.url.startswith(f"{people}/pipelines")

    cookies = {one["name"]: one for one in page.context.cookies(people)}
    session = [one for name, one in cookies.items() if name.startswith("workspace")]
    assert session
    assert all(one["httpOnly"] and one["sameSite"] == "Lax" for one in session)
    # What a script in the page can read opens nothing.
    readable = page.evaluate("document.cookie")
    assert "workspace" not in readable

    page.goto(f"{people}/oauth2/sign_out")
    page.get_by_text("Who are you?").wait_for()
    page.goto(f"{people}/api/pipelines")
    assert "daily_full_build" not in page.inner_text("body")


def test_nora_who_is_in_no_group_stays_outside(with_login: WithLogin, page: Page) -> None:
    page.goto(with_login.login.people)
    page.get_by_role("button", name="Nora", exact=True).click()
    page.get_by_text("Forbidden").first.wait_for()
    assert "daily_full_build" not in page.inner_text("body")


def test_a_web_socket_of_the_page_opens_with_the_login(with_login: WithLogin, page: Page) -> None:
    people = with_login.login.people
    script = """(address) => new Promise((resolve) => {
        const socket = new WebSocket(address);
        socket.onopen = () => { socket.close(); resolve('open'); };
        socket.onerror = () => resolve('refused');
    })"""
    address = f"{people.replace('http', 'ws')}/websocket/"
    page.goto(with_login.login.provider + "/.well-known/openid-configuration")
    assert page.evaluate(script, address) == "refused"
    page.goto(f"{people}/oauth2/start?rd=/oauth2/userinfo")
    page.get_by_role("button", name="Ana", exact=True).click()
    page.wait_for_url(f"{people}/oauth2/userinfo")  # the provider's page has her address too
    assert page.evaluate(script, address) == "open"
    assert page.evaluate(script, f"{address}terminal") == "refused"
    # A page of another port is another site to the door, though the browser sends the cookie.
    page.goto(with_login.login.provider + "/.well-known/openid-configuration")
    assert page.evaluate(script, address) == "refused"
