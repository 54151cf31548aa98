"""Who somebody is, read from headers that only the proxy can have set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mage_dbt.errors import Forbidden, RequestError, SettingError, Unauthorized
from mage_dbt.identity import rights
from mage_dbt.identity.groups import Groups
from mage_dbt.identity.origin import refuse_other_page
from mage_dbt.identity.person import Person
from mage_dbt.identity.role import Role
from mage_dbt.model.request import Operation, Request
from mage_dbt.server.caller import Caller, Listener
from mage_dbt.settings import Settings
from tests.groups_header import groups_header
from tests.unit.login_settings import LOGIN

GROUPS = Groups.of(Settings.load(LOGIN, Path("/no/such.env")))


def headers(*given: tuple[str, str]) -> Callable[[str], list[str]]:
    return lambda name: [value for one, value in given if one.lower() == name.lower()]


def person(*groups: str, name: str = "ana@example.com", secret: str = "s") -> Person:
    listed = [("X-Forwarded-Groups", groups_header(*one.split(";"), secret="s")) for one in groups]
    given = [("X-Workspace-Proxy", secret), ("X-Forwarded-Email", name), *listed]
    return Person.read(headers(*given), "s", GROUPS)


def test_the_highest_role_that_a_group_gives_is_the_persons() -> None:
    assert person("everybody").role is Role.VIEWER
    assert person("everybody;data").role is Role.ANALYST
    assert person("owners", "everybody").role is Role.OWNER
    assert person("x;operators").role is Role.OPERATOR
    assert person("data", name="Ana@Example.com").name == "ana@example.com"


def test_a_group_whose_name_looks_like_a_list_gives_only_what_it_is_itself() -> None:
    assert person("everybody;guests,owners").role is Role.VIEWER
    for plain in (
        "owners",
        "everybody,owners",
        "Basic owners",
        "Basic b3duZXJz",
        "Basic b3duZXJzOng=",
    ):
        given = [("X-Workspace-Proxy", "s"), ("X-Forwarded-Email", "ana@example.com")]
        with pytest.raises(Forbidden, match="in no group"):  # the proxy writes it otherwise
            Person.read(headers(*given, ("X-Forwarded-Groups", plain)), "s", GROUPS)
    named = {**LOGIN, "LOGIN_OWNER_GROUPS": 'owners, "CN=chiefs,OU=bi,DC=x"'}
    settings = Settings.load(named, Path("/no/such.env"))
    assert settings.login_owner_groups == ("owners", "CN=chiefs,OU=bi,DC=x")
    assert Settings.load(settings.as_environment(), Path("/no/such.env")) == settings
    given = [
        *(("X-Workspace-Proxy", "s"), ("X-Forwarded-Email", "ana@example.com")),
        ("X-Forwarded-Groups", groups_header("CN=chiefs,OU=bi,DC=x", "데이터", secret="s")),
    ]
    assert Person.read(headers(*given), "s", Groups.of(settings)).role is Role.OWNER


def test_somebody_in_no_group_is_refused_by_name() -> None:
    for groups in ((), ("",), ("Owners",), ("owners2",)):
        with pytest.raises(Forbidden, match=r"ana@example\.com is signed in, and in no group"):
            person(*groups)


@pytest.mark.parametrize("secret", ["", "S", "ss", "s ", "é"])
def test_without_the_proxys_secret_nothing_is_believed(secret: str) -> None:
    with pytest.raises(Unauthorized):
        person("owners", secret=secret)


def test_two_secrets_no_secret_or_two_names_are_nobody() -> None:
    secret, name = ("X-Workspace-Proxy", "s"), ("X-Forwarded-Email", "a@b.example")
    group = ("X-Forwarded-Groups", groups_header("owners", secret="s"))
    for given in ([name, group], [secret, secret, name, group], [secret, name, name, group]):
        with pytest.raises(Unauthorized):
            Person.read(headers(*given), "s", GROUPS)
    with pytest.raises(Unauthorized):  # an empty secret file opens nothing
        Person.read(headers(("X-Workspace-Proxy", ""), name, group), "", GROUPS)


@pytest.mark.parametrize(
    "name",
    [
        *("ana", "", "a b@example.com", "a\n@x", "x" * 250 + "@a.example"),
        "Runner@workspace.invalid",  # the runner's own, in Mage
    ],
)
def test_a_name_that_is_no_address_is_refused(name: str) -> None:
    with pytest.raises(Forbidden, match="no e-mail address"):
        person("owners", name=name)


def test_dbts_own_full_refresh_is_for_operators_and_the_pipelines_for_analysts() -> None:
    def needed(**asked: object) -> Role:
        return rights.needed(Request.parse(asked))

    assert needed(operation="build") is Role.ANALYST
    assert needed(operation="command", command="build -s a") is Role.ANALYST
    assert needed(operation="full_refresh", select="a") is Role.ANALYST
    assert needed(operation="command", command="run --full-refresh -s a") is Role.OPERATOR
    assert needed(operation="command", command="seed --full-refresh") is Role.OPERATOR
    assert needed(operation="command", command="run --empty -s a") is Role.OPERATOR


def test_a_refresh_and_its_undo_are_for_analysts_and_an_override_for_operators() -> None:
    for operation in ("full_refresh", "undo_refresh"):
        asked: dict[str, object] = {"operation": operation, "models": "a", "why": "late data"}
        assert rights.needed(Request.parse(asked)) is Role.ANALYST
        assert rights.needed(Request.parse({**asked, "override": "snapshot"})) is Role.OPERATOR
    for how in ("in_place", "show_first"):
        asked = {"operation": "full_refresh", "models": "a", how: True}
        assert rights.needed(Request.parse(asked)) is Role.ANALYST


def test_every_operation_is_on_the_list_of_what_it_needs() -> None:
    assert set(rights.NEEDED) == set(Operation)


def test_who_stands_in_the_ledger_follows_from_the_listener() -> None:
    ana = Caller(Listener.PEOPLE, Role.ANALYST, "ana@example.com")
    assert ana.recorded_as("") == ana.recorded_as("ana@example.com") == "ana@example.com"
    with pytest.raises(RequestError, match="signed in as ana@example.com"):
        ana.recorded_as("olga@example.com")
    notebook = Caller(Listener.MAGE, Role.ANALYST)
    assert notebook.recorded_as("olga@example.com") == "olga@example.com via Mage"
    assert notebook.recorded_as("Mage, trigger API") == "Mage, trigger API"
    assert notebook.recorded_as("Mage, notebook") == "Mage, notebook"
    for name in ("mage@example.com", "Magenta", "Mage", "Mage, otto", "Mage, notebook otto"):
        assert notebook.recorded_as(name) == f"{name} via Mage"
    assert Caller(Listener.MAGE, Role.OWNER).recorded_as("kim") == "kim"
    assert Caller(Listener.MACHINES, Role.ANALYST, "bot").recorded_as("kim") == "bot: kim"
    assert Caller(Listener.TOKEN, Role.OWNER).recorded_as("") == "API"


def test_only_our_own_pages_for_our_own_host_are_answered() -> None:
    def check(*given: tuple[str, str], method: str = "POST", page: bool = False) -> None:
        ours = ("mage.example.com", "https://mage.example.com")
        refuse_other_page(headers(*given), method, *ours, page)

    host = ("Host", "mage.example.com")
    check(host)
    check(host, ("Origin", "https://mage.example.com"), ("Sec-Fetch-Site", "same-origin"))
    link = [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
    for site in ("cross-site", "same-site", "none", "same-origin"):  # a link in a chat
        check(host, ("Sec-Fetch-Site", site), *link, method="GET", page=True)
    for reading in ("GET", "HEAD"):
        check(host, ("Sec-Fetch-Site", "none"), method=reading)  # an address that somebody typed
        for elsewhere in (("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site")):
            framed = [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")]
            image = [("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")]
            for how, page in (([], True), (framed, True), (image, True), (link, False)):
                with pytest.raises(Forbidden):
                    check(host, elsewhere, *how, method=reading, page=page)
    for wrong in (
        [],
        [("Host", "mage.example.com.evil.example")],
        [host, host],
        [host, ("Origin", "null")],
        [host, ("Origin", "http://mage.example.com")],
        [host, ("Origin", "https://mage.example.com:444")],
        [host, ("Sec-Fetch-Site", "cross-site")],
        [host, ("Sec-Fetch-Site", "same-site")],
        [host, ("Sec-Fetch-Site", "none")],
        [host, ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "same-origin")],
    ):
        with pytest.raises(Forbidden):
            check(*wrong)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://Mage.example.com:443/", "https://mage.example.com"),
        ("http://127.0.0.1:4180", "http://127.0.0.1:4180"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_the_origin_is_written_as_a_browser_writes_it(address: str, origin: str) -> None:
    settings = Settings.load({**LOGIN, "MAGE_PUBLIC_URL": address}, Path("/no/such.env"))
    assert settings.public_origin == origin


def test_half_a_login_is_refused_at_start() -> None:
    for missing, says in (("MAGE_PUBLIC_URL", "MAGE_PUBLIC_URL"), ("LOGIN_", "let nobody in")):
        left = {
            name: value
            for name, value in LOGIN.items()
            if name == "LOGIN_REQUIRED" or not name.startswith(missing)
        }
        with pytest.raises(SettingError, match=says):
            Settings.load(left, Path("/no/such.env"))
    settings = Settings.load(LOGIN, Path("/no/such.env"))
    assert Settings.load(settings.as_environment(), Path("/no/such.env")) == settings
