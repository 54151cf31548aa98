"""The line of Mage's guides that says how dbt-metric's commits stand."""

from __future__ import annotations

from dataclasses import replace

from mage_dbt.commits.broken import Broken, not_prepared
from mage_dbt.errors import CommitBroken
from mage_dbt.runner.guides import of_commits

LIVE = ("3f2c1ab" + "0" * 33, "Rename discount code")

BROKEN = Broken(
    sha="9f31c2e" + "0" * 33,
    subject="Add refunds",
    author="Lee",
    error=CommitBroken("Model 'refunds' depends on 'refund'.\nmodels/refunds.sql", ""),
    since=0,
)


def test_a_commit_that_is_the_newest_is_named_alone() -> None:
    assert of_commits(*LIVE, None, "", 0, "main") == "Live: `3f2c1ab` Rename discount code."


def test_what_comes_next_and_how_far_it_is_ahead_stand_beside_it() -> None:
    line = of_commits(*LIVE, None, "9f31c2e" + "0" * 33, 0, "main")
    assert line.endswith(". `9f31c2e` is being made ready.")
    assert of_commits(*LIVE, None, "", 1, "main").endswith(". main is 1 commit ahead.")


def test_a_broken_commit_has_its_author_and_its_reason() -> None:
    line = of_commits(*LIVE, BROKEN, "", 2, "main")
    assert "**Broken: `9f31c2e` Add refunds, by Lee:** Model 'refunds' depends on" in line
    assert "models/refunds.sql" not in line and line.endswith("main is 2 commits ahead.")
    accident = replace(BROKEN, error=not_prepared(BROKEN.sha, "dbt was killed."))
    line = of_commits(*LIVE, accident, "", 0, "main")
    assert line.endswith("`9f31c2e` cannot be made ready on this machine.") and "Lee" not in line


def test_what_people_wrote_means_nothing_in_a_guide() -> None:
    nasty = (LIVE[0], "[x](javascript:a) <img src=x> `a`\n# b https://evil.example")
    line = of_commits(*nasty, None, "", 0, "main")
    assert "\n" not in line and "](" not in line and "<img" not in line.replace("\\<", "")
    assert "https\\://evil\\.example" in line
