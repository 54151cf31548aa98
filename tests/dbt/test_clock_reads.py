"""What of a project's configuration depends on when dbt parses it is found, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.dbt.parsed import answer

CODE = """
import dbt.tracking
from mage_dbt.dbt.project import Project

project = Project.parse(arguments, watch_clock=True)
alias = project.manifest.nodes["model.clock.alias_of_now"].alias
kind = type(dbt.tracking.User("").run_started_at).__module__
answer(project.clock, alias, kind)
"""


def test_configuration_that_reads_the_clock_is_found(tmp_path: Path) -> None:
    found, alias, kind = answer(CODE, "clock", tmp_path / "clock")
    assert set(found) == {
        "alias_of_now",
        "enabled_today",
        "refers_by_day",
        "by_macro",
        "only_on_the_first",
        "only_on_sundays",
        "{{ 'in_' ~ run_started_at.strftime('%Y') }}",
        "x > {{ run_started_at.day }}",
    }
    # dbt keeps what it rendered first, and its own clock is back.
    assert alias.startswith("stamped_") and kind == "datetime"
