"""Each record of a decision is in the index, and says what a record has to say."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from mage_dbt.settings import CHECKOUT

FOLDER = CHECKOUT / "docs" / "decisions"

INDEX = FOLDER / "README.md"

RECORDS = sorted(file for file in FOLDER.glob("*.md") if file != INDEX)

SECTIONS = ["Context", "Decision", "Not taken", "Consequences"]

LINES = 25
"""A record stays below this, so that it is read on one screen."""


def test_the_index_has_each_record_with_its_title_and_date() -> None:
    rows = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \| (.+) \| ([\d-]+) \|$", INDEX.read_text(), re.M)
    records = []
    for record in RECORDS:
        found = re.match(r"# (\d{4}): (.+)\n\nDate: (\S+)\n", record.read_text())
        assert found, f"{record.name} does not begin with its number, title and date"
        number, title, day = found.groups()
        records.append((number, record.name, title, day))
    assert rows == records and records


def test_each_number_is_one_record() -> None:
    numbers = [record.name[:4] for record in RECORDS]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_has_its_number_its_sections_and_one_screen(record: Path) -> None:
    assert re.fullmatch(r"\d{4}-[a-z0-9]+(-[a-z0-9]+)*\.md", record.name)
    text = record.read_text()
    assert text.startswith(f"# {record.name[:4]}: ")
    assert date.fromisoformat(text.splitlines()[2].removeprefix("Date: "))
    assert re.findall(r"^## (.+)$", text, re.M) == SECTIONS
    bodies = re.split(r"^## .+$", text, flags=re.M)[1:]
    assert all(body.strip() for body in bodies)
    assert len(text.splitlines()) < LINES
