"""What a caller says about gzip is read as RFC 9110 has it, in one place."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import Request

from mage_dbt import server
from mage_dbt.server.packing import takes_gzip


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ([], False),
        ([""], False),
        (["gzip"], True),
        (["GZIP;q=0.5, deflate"], True),
        (["deflate, gzip; q=1.0"], True),
        (["x-gzip"], True),
        (["br", "gzip"], True),
        (["*"], True),
        (["identity"], False),
        (["identity, gzip;q=0"], False),
        (["gzip; q=0.000"], False),
        (["gzip;q=0, *"], False),
        (["*;q=0"], False),
        (["identity;q=1, *;q=0"], False),
        (["gzip;q=much"], False),
        (["gzip;q=nan"], False),
        (["not-gzip"], False),
        ([",;,;q=1"], False),
    ],
)
def test_gzip_is_sent_to_those_who_take_it(accepted: list[str], takes: bool) -> None:
    headers = [(b"accept-encoding", value.encode()) for value in accepted]
    assert takes_gzip(Request({"type": "http", "headers": headers})) is takes


def test_no_other_place_reads_the_header() -> None:
    folder = Path(server.__file__).parent
    reading = [
        path.name for path in folder.rglob("*.py") if '"accept-encoding"' in path.read_text()
    ]
    assert reading == ["packing.py"]
