"""The page behind the login: the four tasks by an analyst, and who may do what."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from mage_dbt.model.run import RunState
from mage_dbt.server.pages.forms import TOKEN_FIELD, Forms
from tests.harness import pages
from tests.harness.login import WithLogin
from tests.harness.pages import HeldPackage, Team, Visit

SignedIn = Callable[[str], Visit]


@pytest.fixture(scope="module")
def team(with_login: WithLogin) -> Iterator[Team]:
    found = Team(with_login.workspace)
    yield found
    found.put_right()


@pytest.fixture
def signed_in(page: Page, with_login: WithLogin, team: Team) -> Iterator[SignedIn]:
    """Signs people in, each in a browser of their own."""
    team.healthy()
    browser = page.context.browser
    assert browser
    visits: list[Visit] = []

    def sign_in(name: str) -> Visit:
        visit = Visit(browser, f"{with_login.login.people}/runner")
        visits.append(visit)
        pages.sign_in(visit, name)
        visit.complaints.clear()  # of the provider's page
        return visit

    yield sign_in
    for visit in visits:
        visit.choose_language("en")  # what a person has chosen is kept, for other tests too
        visit.close()
        assert visit.complaints == []


# In Korean; tests/e2e/test_page.py does them in English.
@pytest.mark.parametrize("language", ["ko", pytest.param("en", marks=pytest.mark.thorough)])
def test_an_analyst_does_the_four_tasks_behind_the_login(
    signed_in: SignedIn, team: Team, language: str
) -> None:
    ana = signed_in("Ana")
    ana.choose_language(language)
    held = HeldPackage()
    try:
        team.failed_morning()
        pages.why_did_it_fail(ana)
        pages.run_it_again(ana, team, held)
    finally:
        held.close()
    pages.run_one_model(ana, team)
    team.healthy()
    pages.add_a_column(ana, team, "ana@example.com")
    team.put_right()  # else the column would be among what changed since the table last passed
    pages.what_is_running(ana, team)


def test_two_people_follow_the_same_refresh(signed_in: SignedIn, team: Team) -> None:
    ana, olga = signed_in("Ana"), signed_in("Oleg")
    team.workspace.publish("Double the amounts", facts=pages.WITH_DOUBLE)
    ana.open("/ask/refresh?model=facts")
    ana.click(ana.button("Refresh, and show me first"))
    run = ana.run_id()
    compared = ana.say("%(name)s compared with the table of today", name="facts")
    expect(ana.page.locator("main")).to_contain_text(compared)
    olga.open(f"/runs/{run}")
    expect(olga.page.locator("main")).to_contain_text(compared)
    olga.page.locator("#swap-name").fill("facts")
    olga.page.locator("#swap-why").fill("looks right")
    olga.click(olga.button("Swap"))
    done = team.over(run)
    assert done.state is RunState.SUCCESS and done.caller == "ana@example.com"
    # Nobody touches Ana's page meanwhile.
    expect(ana.page.locator("h1 .tag")).to_have_text("Success")
    expect(ana.page.locator("main")).to_contain_text("swapped in")
    assert team.columns("analytics.facts") == ["id", "amount", "double"]


def test_a_viewer_sees_what_others_may_do_and_is_refused(
    signed_in: SignedIn, with_login: WithLogin, team: Team
) -> None:
    build = team.failed_morning()
    vera = signed_in("Vera")
    page = vera.open()
    button = page.get_by_role("button", name="Run what failed on")
    expect(button).to_be_disabled()
    who = "Analysts, operators and owners may do this; your role here is viewer."
    expect(page.locator("#why-not")).to_contain_text(who)
    for path in (f"/ask/rerun?run={build.id}", "/ask/run?model=facts", "/ask/refresh?model=facts"):
        vera.open(path)
        expect(page.locator("main")).to_contain_text(who)
        expect(page.locator("main form[method=post]")).to_have_count(0)
    # Even a form made by hand, with a token of her own, is refused.
    forms = Forms(with_login.workspace.home.api_token.read_text().strip())
    before = len(team.workspace.client.runs(limit=500))
    answer = page.request.post(
        f"{vera.base}/ask/rerun",
        form={TOKEN_FIELD: forms.token("vera@example.com"), "run": build.id, "key": "by-hand"},
        headers={"Origin": with_login.login.people},
    )
    assert answer.status == 403
    assert "analyst" in answer.text()
    assert len(team.workspace.client.runs(limit=500)) == before
    vera.complaints = [text for text in vera.complaints if "(Forbidden)" not in text]
