"""What every test may use, and the report of what was not run. See tests/README.md."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from mage_dbt.errors import WorkspaceError
from mage_dbt.launcher import identity_provider, oauth2_proxy
from mage_dbt.launcher.environments import MAGE
from mage_dbt.launcher.postgres import Postgres
from tests.harness import (
    alone,
    covered,
    database,
    environments,
    failures,
    login,
    prepared,
    scheduling,
    system,
)
from tests.harness import mage as mage_harness
from tests.harness import runner as runners
from tests.harness.database import Database
from tests.harness.login import Login, WithLogin
from tests.harness.mage import Mage
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, progress
from tests.harness.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Chromium would otherwise try to reach its maker's servers, and as root it needs no sandbox.
CHROMIUM_ARGUMENTS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    fuzz = parser.getgroup("fuzz", "the fuzz of the HTTP API")
    fuzz.addoption("--fuzz-examples", type=int, default=10, help="examples for each operation (10)")
    fuzz.addoption("--fuzz-seed", type=int, default=1, help="the same seed is the same fuzz (1)")
    parser.addoption("--random-size", type=int, help="random requests, kills, steps or models")
    parser.addoption(
        "--write-attacks", action="store_true", help="write the attacks' table in docs/security.md"
    )
    parser.addoption("--random-seed", type=int, help="the seed of a test's random numbers")
    parser.addoption(
        "--engine", action="store_true", help="tests/engine too: Compose's stack in an engine"
    )
    parser.addoption(
        "--dbt-project", type=Path, help="a checkout for tests/differential/any_project.py"
    )
    parser.addoption("--dbt-subdir", default="", help="the folder of its dbt_project.yml")
    parser.addoption("--git-sync", type=Path, help="the real git-sync, instead of our stand-in")
    parser.addoption(
        "--thorough",
        action="store_true",
        help="the differential test in full: every step cold too, every behaviour on the older "
        "dbt; every victim of a kill at each step of a refresh; and what is marked so",
    )
    parser.addoption(
        "--without-shortcuts",
        action="store_true",
        help="the differential test with RUNNER_DBT_SHORTCUTS=false",
    )
    parser.addoption(
        "--write-seconds", action="store_true", help="write tests/seconds.json, the tests' order"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(scheduling.Stopwatch(config.getoption("--write-seconds")))
    config.pluginmanager.register(covered.Covered())
    if not hasattr(config, "workerinput"):  # pytest-xdist's processes have one
        config.pluginmanager.register(alone.PlayedAlone())
        config.pluginmanager.register(prepared.Prepared())
        config.pluginmanager.register(failures.PrintedAtOnce(config))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return scheduling.processes(config)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--thorough"):
        further = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=further)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
    scheduling.arrange(items)
    for item in items:
        item.user_properties.append(("group", scheduling.group_of(item)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Ends the runs of a test that failed: those of the next ones would wait for them, each until
    its deadline."""
    report = yield
    runner = getattr(item, "funcargs", {}).get("runner")
    if report.when == "call" and report.failed and isinstance(runner, Runner):
        with suppress(WorkspaceError):
            runner.end_runs()
    return report


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The system's Chromium; without one the test is not run, which in CI is a failure."""
    found = system.chromium()
    if found is None:
        not_run("no Chromium here; install the system's package chromium")
    return found


@pytest.fixture
def page(chromium: Path) -> Iterator[Page]:
    """An empty page of a browser that knows nobody."""
    # Here, because some environments that tests run in have no use for a browser.
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        page = window.new_page(viewport={"width": 1720, "height": 900})
        page.set_default_timeout(SECONDS * 1000)
        expect.set_options(timeout=SECONDS * 1000)
        yield page
        window.close()


def not_run(reason: str) -> NoReturn:
    """For what this machine lacks: reported by name at the end, and a failure in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"not run: {reason}")
    pytest.skip(f"not run: {reason}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """This process's PostgreSQL, whose databases `renew` makes new; nobody stops it."""
    with database.started(tmp_path_factory.mktemp("server"), durable=False) as found:
        found.prepare()
        found.keep_as_templates()
        yield found


@pytest.fixture(scope="module")
def postgres(server: Database) -> Postgres:
    """The workspace's databases with their roles and the ledger, new for each file."""
    server.renew()
    return server.postgres


@pytest.fixture(scope="module")
def runner(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runner]:
    """The file's runner on `tests/projects/<PROJECT>` (the file names it).

    On a server of its own where the file says `OWN_POSTGRESQL`.
    """
    folder = tmp_path_factory.mktemp("runner")
    own = getattr(request.module, "OWN_POSTGRESQL", False)
    given = None if own else request.getfixturevalue("server")
    with runners.on_project(folder, given, request.module.PROJECT) as found:
        yield found


@pytest.fixture(scope="session")
def mage_python() -> Path:
    """The Python of Mage's environment, patched."""
    return environments.python(MAGE)


@pytest.fixture(scope="session")
def mage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mage]:
    """A Mage without a login, with the pipelines of the template."""
    with mage_harness.started(tmp_path_factory.mktemp("mage")) as found:
        yield found


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A started workspace on `tests/projects/steps`, whose first build is over."""
    found = Workspace.on_project(tmp_path_factory.mktemp("workspace"), "steps")
    found.start_and_wait()
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def new_workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace that was never started, with the environments that are installed already."""
    found = Workspace(tmp_path / "home")
    environments.share(found.home)
    yield found
    if found.started:
        found.stop()


@pytest.fixture(scope="session")
def proxy_program() -> Path:
    """oauth2-proxy, built with Go by the first test that needs it."""
    if shutil.which("go") is None:
        not_run("no Go here; oauth2-proxy is built with it")
    return oauth2_proxy.ensure(environments.installed(), progress())


@pytest.fixture(scope="session")
def provider_program() -> Path:
    """The development identity provider, made by the first test that needs it."""
    if shutil.which("npm") is None:
        not_run("no node and npm here; the development identity provider is made with them")
    return identity_provider.ensure(environments.installed(), progress())


@pytest.fixture(scope="session")
def doors_open(
    tmp_path_factory: pytest.TempPathFactory, proxy_program: Path, provider_program: Path
) -> Iterator[Login]:
    """The proxies and the provider that most tests of the login share."""
    folder = tmp_path_factory.mktemp("login")
    with login.started(folder, proxy_program, (login.stranger(folder),)) as found:
        yield found


@pytest.fixture(scope="session")
def with_login(
    tmp_path_factory: pytest.TempPathFactory, proxy_program: Path, provider_program: Path
) -> Iterator[WithLogin]:
    """A whole workspace with a login, on the project `steps`; its first build is over."""
    with login.whole_workspace(tmp_path_factory.mktemp("with-login")) as found:
        yield found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("not run")
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            terminalreporter.line(f"{report.nodeid}: {reason}")
