"""What tests need beside their own environment, made before the first of them when all are run.

Otherwise the first test that asks would have it made beside others. There oauth2-proxy took 15
minutes of two cores, where it takes 2 alone, and who waited for the folder's lock waited too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import DEVNULL, Popen, SubprocessError

import pytest

from mage_dbt.errors import MachineError
from mage_dbt.launcher import environments, identity_provider, oauth2_proxy
from mage_dbt.launcher.environments import DBT, DUCKDB, MAGE, OLDER, VALIDATORS
from mage_dbt.settings import CHECKOUT
from tests.harness import system
from tests.harness.environments import installed
from tests.harness.scheduling import is_whole
from tests.harness.waiting import progress


class Prepared:
    """Of the process that hands out the tests. What cannot be made fails the tests that need it."""

    @pytest.hookimpl
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        if not is_whole(session.config):
            return
        capture = session.config.pluginmanager.getplugin("capturemanager")
        assert capture is not None
        with capture.global_and_fixture_disabled(), compiled():
            prepare()


@contextmanager
def compiled() -> Iterator[None]:
    """Has one process read all tests, and keep what Python compiles, meanwhile.

    Those that begin at once each compile all: 30 s of CPU for each, and 10 after this.
    """
    collect = ["-P", "-m", "pytest", "--collect-only", "--quiet", "--numprocesses=0"]
    with Popen([sys.executable, *collect], cwd=CHECKOUT, stdout=DEVNULL, stderr=DEVNULL):
        yield


def prepare() -> None:
    """Makes all of it, where it is missing."""
    # Here, because some environments that tests run in lack the browser's package.
    from tests.harness import accessibility
    from tests.k8s import tools

    home, lines = installed(), progress()
    recipes = [DBT, MAGE, VALIDATORS, DUCKDB, OLDER]
    for make in (
        lambda: environments.ensure(home, recipes, lines),
        lambda: oauth2_proxy.ensure(home, lines),
        tools.kustomize,
        lambda: identity_provider.ensure(home, lines),
        tools.dclint,
        accessibility.axe,
        system.chromium,
        system.pgbouncer,
        lambda: system.unpacked("git-lfs"),
    ):
        with suppress(MachineError, SubprocessError):
            make()
