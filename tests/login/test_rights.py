"""Rights that are taken away end soon, and so does a session that is signed out of."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from mage_dbt.launcher import identity_provider
from tests.harness import login
from tests.harness.login import Login
from tests.harness.waiting import SECONDS, wait_until


@pytest.fixture(scope="module")
def quick(
    tmp_path_factory: pytest.TempPathFactory, proxy_program: Path, provider_program: Path
) -> Iterator[Login]:
    folder = tmp_path_factory.mktemp("rights")
    with login.started(folder, proxy_program, OAUTH2_PROXY_COOKIE_REFRESH="1s") as found:
        yield found


@pytest.fixture
def people(quick: Login) -> Iterator[list[dict[str, Any]]]:
    """The people the provider knows, as they were again afterwards."""
    text = (identity_provider.SOURCE / "people.json").read_text()
    yield json.loads(text)
    quick.set_people(json.loads(text))


def groups_seen(client: httpx.Client) -> str:
    """The groups that arrive behind the door, or the status when nothing does."""
    answer = client.get("/api/pipelines")
    if answer.status_code != 200:
        return str(answer.status_code)
    told = [value for name, value in answer.json()["headers"] if name == "x-forwarded-groups"]
    encoded = [one.removeprefix("Basic ") for one in ",".join(told).split(",") if one]
    return ",".join(base64.b64decode(one).decode().partition(":")[0] for one in encoded)


def wait_for_groups(client: httpx.Client, wanted: str) -> None:
    def probe() -> bool | str:
        return (seen := groups_seen(client)) == wanted or f"it is {seen}"

    wait_until(f"{wanted} to arrive", probe)


def test_another_group_arrives_without_a_new_login(
    quick: Login, people: list[dict[str, Any]]
) -> None:
    with quick.sign_in("oleg@example.com") as client:
        assert groups_seen(client) == "operators"
        for one in people:
            if one["email"] == "oleg@example.com":
                one["groups"] = ["viewers", "analysts"]
        quick.set_people(people)
        wait_for_groups(client, "viewers,analysts")


def test_who_lost_the_last_group_is_outside(quick: Login, people: list[dict[str, Any]]) -> None:
    with quick.sign_in("ana@example.com") as client:
        for one in people:
            one["groups"] = []
        quick.set_people(people)
        wait_for_groups(client, "403")
        # And stays there, whatever cookie it was left with.
        assert groups_seen(client) in ("401", "403")


def test_who_is_gone_from_the_provider_is_outside(
    quick: Login, people: list[dict[str, Any]]
) -> None:
    with quick.sign_in("vera@example.com") as client:
        quick.set_people([one for one in people if one["email"] != "vera@example.com"])
        wait_for_groups(client, "401")


def test_signing_out_ends_the_session_of_the_browser(quick: Login) -> None:
    with quick.sign_in("ana@example.com") as client:
        assert groups_seen(client) == "analysts"
        answer = client.get("/oauth2/sign_out")
        assert answer.status_code == 302
        assert groups_seen(client) == "401"
        assert "Who are you?" in client.get("/", follow_redirects=True).text


def test_many_requests_at_once_survive_the_refresh(quick: Login) -> None:
    """A page of Mage asks for much at once, and each of these requests refreshes."""
    with quick.sign_in("ana@example.com") as client:
        cookies = dict(client.cookies)

        def ask() -> httpx.Response:
            address = f"{quick.people}/api/pipelines"
            return httpx.get(address, cookies=cookies, trust_env=False, timeout=SECONDS)

        def probe() -> bool | str:
            before = quick.log("people").count("Refreshing session")
            with ThreadPoolExecutor(10) as pool:
                answers = list(pool.map(lambda _: ask(), range(10)))
            assert {one.status_code for one in answers} == {200}
            refreshed = quick.log("people").count("Refreshing session") - before
            return refreshed >= 10 or f"{refreshed} of 10 refreshed"

        wait_until("ten requests with one old cookie to refresh", probe)
