"""What the workspace's processes find in their environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from mage_dbt.launcher import programs
from mage_dbt.launcher.environments import MAGE
from mage_dbt.launcher.programs import Databases
from mage_dbt.settings import CHECKOUT, Settings
from tests.harness.environments import installed, python


def test_mage_gets_what_its_own_alerts_may_read_and_the_address_people_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAGE_ALERT_SLACK", "https://hooks.example.com/x")
    monkeypatch.setenv("OTHER_SECRET", "x")
    settings = Settings.load({"MAGE_PUBLIC_URL": "https://mage.example.com"}, tmp_path / "no.env")
    python(MAGE)
    program = programs.mage(settings, installed(), Databases("", "", {}))
    assert program.environment["MAGE_ALERT_SLACK"] == "https://hooks.example.com/x"
    assert program.environment["MAGE_PUBLIC_HOST"] == "https://mage.example.com"
    assert "OTHER_SECRET" not in program.environment
    assert "`MAGE_ALERT_` reach Mage" in (CHECKOUT / "docs" / "alerts.md").read_text()
