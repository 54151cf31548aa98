"""What a process knows to be secret does not leave it, however it is written."""

from __future__ import annotations

import base64
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import pytest

from mage_dbt import redaction
from mage_dbt.redaction import STARS, Formatter, hide, scrub, scrub_data

SECRET = 'p@ss/wörd "quoted" \\ and+more'


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    before = set(redaction._hidden)
    yield
    redaction._hidden.clear()
    redaction._hidden.update(before)


@pytest.mark.parametrize(
    "text",
    [
        f"password={SECRET};",
        json.dumps({"message": f"no: {SECRET}"}),
        json.dumps({"message": f"no: {SECRET}"}, ensure_ascii=False),
        f"postgresql://kim:{quote(SECRET, safe='')}@db/x",
        urlencode({"token": SECRET}),
        "Basic " + base64.b64encode(f"kim:{SECRET}".encode()).decode(),
        "Basic " + base64.b64encode(f"jo:{SECRET}".encode()).decode(),
        "Basic " + base64.b64encode(f"alex:{SECRET}".encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_hidden_value_is_taken_out_however_it_is_written(text: str) -> None:
    hide(SECRET)
    shown = scrub(text)
    assert STARS in shown
    for part in ("wörd", "quoted", "w%C3%B6rd", "w\\u00f6rd"):
        assert part not in shown
    assert base64.b64encode(SECRET.encode()).decode()[4:-8] not in shown


def test_variables_that_are_secret_by_name_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DBT_ENV_SECRET_X", "SMTP_PASSWORD", "CHAT_TOKEN", "DB_PASS"):
        monkeypatch.setenv(name, f"value of {name}")
        assert scrub(f"<value of {name}>") == f"<{STARS}>"
    monkeypatch.setenv("DBT_ENV_SECRET_X_FILE", "/secrets/x")
    assert scrub("/secrets/x cannot be read") == "/secrets/x cannot be read"


def test_a_value_that_was_changed_stays_hidden() -> None:
    hide("the old password")
    hide("the new password")
    assert scrub("the old password, the new password") == f"{STARS}, {STARS}"


def test_numbers_and_shape_of_data_stay() -> None:
    hide("hunter2")
    data = {"at": 1.5, "rows": 2, "message": "hunter2!", "of": [None, True, "hunter2"]}
    assert scrub_data(data) == {
        "at": 1.5,
        "rows": 2,
        "message": f"{STARS}!",
        "of": [None, True, STARS],
    }


def test_a_logs_traceback_is_without_secrets() -> None:
    hide("hunter2")
    try:
        raise ValueError("cannot use hunter2")
    except ValueError:
        record = logging.LogRecord("x", 40, "x", 1, "with %s", ("hunter2",), sys.exc_info())
    shown = Formatter().format(record)
    assert "hunter2" not in shown
    assert f"cannot use {STARS}" in shown and f"with {STARS}" in shown


def test_a_logs_line_has_a_level_and_the_time_of_a_zone_that_it_names() -> None:
    record = logging.LogRecord("mage_dbt.runner", logging.ERROR, "x", 1, "gone", (), None)
    record.created, record.msecs = datetime(2026, 11, 22, 23, 4, 5, tzinfo=UTC).timestamp(), 7
    shown = Formatter(ZoneInfo("Asia/Seoul")).format(record)
    assert shown == "2026-11-23 08:04:05.007 KST ERROR mage_dbt.runner: gone"
    machines = Formatter().format(record).split()
    assert machines[2] == datetime.fromtimestamp(record.created).astimezone().tzname()
