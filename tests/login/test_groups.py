"""Groups arrive one by one, whatever their names hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mage_dbt.errors import Forbidden
from mage_dbt.identity.groups import Groups
from mage_dbt.identity.person import Person
from mage_dbt.launcher import identity_provider
from mage_dbt.launcher.identity_provider import Machine
from mage_dbt.settings import Settings
from tests.harness import login
from tests.harness.login import ALL_GROUPS, Login
from tests.harness.waiting import SECONDS

GROUPS = Groups.of(
    Settings.load(
        {
            "LOGIN_VIEWER_GROUPS": "viewers",
            "LOGIN_ANALYST_GROUPS": '"CN=분석,OU=bi"',
            "LOGIN_OWNER_GROUPS": "owners",
        },
        Path("/no/such.env"),
    )
)

LIKE_A_LIST = ("operators", "guests,owners", 'a"b')


@pytest.fixture(scope="module")
def doors(
    tmp_path_factory: pytest.TempPathFactory, proxy_program: Path, provider_program: Path
) -> Iterator[Login]:
    folder = tmp_path_factory.mktemp("groups")
    bot = Machine("list-bot", folder / "bot-secret", LIKE_A_LIST)
    allowed = f'{ALL_GROUPS}, "CN=분석,OU=bi"'
    with login.started(folder, proxy_program, (bot,), PEOPLE_GROUPS=allowed) as found:
        yield found


def role(answer: httpx.Response, secret: Path, machine: bool = False) -> str:
    """The role of whom the echo behind the door has seen."""
    headers = answer.json()["headers"]

    def values(name: str) -> list[str]:
        return [value for given, value in headers if given == name.lower()]

    return str(Person.read(values, secret.read_text(), GROUPS, machine).role)


@pytest.mark.parametrize(
    ("groups", "wanted"),
    [
        (["viewers", "guests,owners"], "viewer"),
        (["viewers", "x, owners ,y"], "viewer"),
        (["guests", "owners"], "owner"),
        (["CN=분석,OU=bi"], "analyst"),
    ],
)
def test_a_group_called_like_a_list_makes_nobody_more_than_it_says(
    doors: Login, groups: list[str], wanted: str
) -> None:
    people = json.loads((identity_provider.SOURCE / "people.json").read_text())
    people[0]["groups"] = groups
    doors.set_people(people)
    with doors.sign_in(people[0]["email"]) as client:
        assert role(client.get("/pipelines"), doors.home.proxy_people_secret) == wanted


def test_nor_in_a_machines_jwt(doors: Login) -> None:
    token = doors.token("list-bot", doors.home.root.parent / "bot-secret")
    answer = httpx.get(
        f"{doors.machines}/status",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=SECONDS,
    )
    assert answer.status_code == 200, answer.text
    with pytest.raises(Forbidden, match="in no group"):
        role(answer, doors.home.proxy_machines_secret, machine=True)
