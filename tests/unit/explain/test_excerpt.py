"""The line of the compiled SQL to which PostgreSQL's message points."""

from __future__ import annotations

from pathlib import Path

import pytest

from mage_dbt.explain.excerpt import LONGEST_LINE, Excerpt, excerpt, read_sql

SQL = """select
    customers.region,
    orders.discount_codes,
    orders.net_revenue
from orders
"""


def pointing(number: int, text: str, word: str = "LINE") -> str:
    return f"column x does not exist\n{word} {number}: {text}\n              ^\nHINT:  Perhaps."


def test_the_line_is_found_by_its_text_because_dbt_wraps_the_sql() -> None:
    found = excerpt(SQL, pointing(14, "    orders.discount_codes,"))
    assert found == Excerpt(3, 1, tuple(SQL.splitlines()))


@pytest.mark.parametrize("word", ["줄", "ZEILE", "LIGNE"])
def test_the_server_may_speak_any_language(word: str) -> None:
    found = excerpt(SQL, pointing(14, "    orders.discount_codes,", word))
    assert found and found.line == 3


def test_of_equal_lines_the_nearest_before_counts() -> None:
    sql = "\n".join(["select a"] * 30)
    found = excerpt(sql, pointing(12, "select a"))
    assert found and (found.line, found.first, len(found.lines)) == (12, 10, 5)


def test_a_line_that_postgresql_has_cut_is_found_and_a_long_one_is_cut() -> None:
    sql = f"select 1,\n{'x' * 500}, bad, {'y' * 500}\nfrom t"
    found = excerpt(sql, pointing(9, f"...{'x' * 20}, bad, {'y' * 20}..."))
    assert found and found.line == 2 and len(found.lines[1]) == LONGEST_LINE


def test_a_message_that_points_nowhere_or_to_another_text_has_no_excerpt() -> None:
    assert excerpt(SQL, "division by zero") is None
    assert excerpt(SQL, pointing(3, "something that is not there")) is None
    assert excerpt("", pointing(3, "select")) is None


def test_only_files_of_the_runs_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "secret.sql").write_text("secret")
    run = tmp_path / "run"
    run.mkdir()
    (run / "x.sql").write_text("select 1")
    assert read_sql(run, "x.sql") == "select 1"
    for outside in ("../secret.sql", str(tmp_path / "secret.sql"), "gone.sql", ""):
        assert read_sql(run, outside) == ""
