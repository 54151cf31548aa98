"""What several tests of single parts need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mage_dbt.home import Home
from mage_dbt.workspace.postgres import Postgres
from mage_dbt.workspace.progress import Progress
from mage_dbt.workspace.supervisor import Supervisor
from tests.live import free_ports


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The workspace's database with its roles and the ledger, new for each module."""
    home = Home(tmp_path_factory.mktemp("postgres") / "home")
    home.logs.mkdir(parents=True)
    made = Postgres(home, free_ports(1)[0])
    made.prepare()
    supervisor = Supervisor(home, Progress(0))
    supervisor.start(made.program())
    supervisor.wait("postgres")
    made.prepare_workspace()
    yield made
    supervisor.stop([["postgres"]])
