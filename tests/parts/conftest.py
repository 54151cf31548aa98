"""What several tests of single parts need."""

from __future__ import annotations

import pytest

from mage_dbt.workspace.postgres import Postgres
from tests.harness.database import Database


@pytest.fixture(scope="module")
def postgres(server: Database) -> Postgres:
    """The workspace's databases with their roles and the ledger, new for each file."""
    server.renew()
    return server.postgres
