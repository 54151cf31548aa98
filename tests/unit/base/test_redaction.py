"""What a process knows to be secret does not leave it, however it is written."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.base import redaction
from mage_dbt.base.redaction import (
    STARS,
    Formatter,
    hide,
    hide_file,
    hide_files_in,
    scrub,
    scrub_data,
    scrubber,
    secrets_in,
    without_credentials,
)
from mage_dbt.base.secret_files import replace_secret
from tests.harness.waiting import wait_until

SECRET = 'p@ss/wörd "quoted" \\ and+more'


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    before = set(redaction._hidden)
    yield
    redaction._hidden.clear()
    redaction._hidden.update(before)
    redaction._folders.clear()


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
    for name in (
        *("DBT_ENV_SECRET_X", "SMTP_PASSWORD", "CHAT_TOKEN", "DB_PASS", "DBT_PASSWORD"),
        *("SNOWFLAKE_PASSPHRASE", "CHAT_API_KEY", "AZURE_ACCOUNT_KEY"),
    ):
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


def test_passwords_in_the_urls_of_variables_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://kim:hunter%402@proxy.example:3128")
    for said in ("hunter%402", "hunter@2"):
        assert (
            scrub(f"407 of proxy.example for kim:{said}") == f"407 of proxy.example for kim:{STARS}"
        )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("postgresql://kim:hunter2@db/x?sslmode=require", {"hunter2"}),
        ("postgresql://db/x?user=kim&password=hunter2", {"hunter2"}),
        ("Driver=x;UID=kim;PWD=hunter2;Server=y", {"hunter2"}),
        ("md:sales?motherduck_token=hunter2", {"hunter2"}),
        ("{user: kim, password: 'hunter 2', port: 5432}", {"hunter 2"}),
        ("Authorization: hunter2", {"hunter2"}),
        ("password: \"{{ env_var('DBT_PASSWORD') }}\"", {"{{ env_var('DBT_PASSWORD') }}"}),
        ("user=kim host=db keepalives=1 token_of=", set()),
    ],
)
def test_secrets_are_found_by_their_keys_and_in_urls(text: str, found: set[str]) -> None:
    assert secrets_in(text) == found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to ssh://git@host/x and https://a:b@c/d", "to ssh://host/x and https://c/d"),
        ("https://kim@corp.example:hush@host/x", "https://host/x"),
        ("HTTPS://hush@host/x", "HTTPS://host/x"),
        ("'https://hush@host/x/': 403", "'https://host/x/': 403"),
        ("https://h/x?a=1&private_token=hush#b", f"https://h/x?a=1&private_token={STARS}#b"),
        ("kim@corp.example, see https://host/x", "kim@corp.example, see https://host/x"),
    ],
)
def test_urls_are_shown_without_their_credentials(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


def test_a_long_text_takes_no_long_time() -> None:
    text = "?token&" * 5_000 + "token" * 5_000 + "http://" * 5_000
    assert len(without_credentials(text)) == len(text)
    assert secrets_in(text) == set()


def test_the_quick_way_hides_what_came_to_be_known_later() -> None:
    hide("hunter2")
    clean = scrubber()
    assert clean("hunter2, hunter3") == f"{STARS}, hunter3"
    hide("hunter3")
    assert clean("hunter2, hunter3") == f"{STARS}, {STARS}"


def test_a_logs_line_has_a_level_and_the_time_of_a_zone_that_it_names() -> None:
    record = logging.LogRecord("mage_dbt.server", logging.ERROR, "x", 1, "gone", (), None)
    record.created, record.msecs = datetime(2026, 11, 22, 23, 4, 5, tzinfo=UTC).timestamp(), 7
    shown = Formatter(ZoneInfo("Asia/Seoul")).format(record)
    assert shown == "2026-11-23 08:04:05.007 KST ERROR mage_dbt.server: gone"
    machines = Formatter().format(record).split()
    assert machines[2] == datetime.fromtimestamp(record.created).astimezone().tzname()


def test_what_a_folder_of_secrets_holds_is_hidden_also_what_comes_later(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    quick = scrubber()
    hide_files_in(folder)
    assert scrub("the first-file-value") == "the first-file-value"
    folder.mkdir()
    replace_secret(folder / "api-token", "first-file-value")
    (folder / "alert-urls").write_text("# people write here\nslack://a-token/b\n")
    text = "first-file-value, slack://a-token/b, # people write here"
    assert scrub(text) == quick(text) == f"{STARS}, {STARS}, # people write here"
    replace_secret(folder / "api-token", "second-file-value")
    text = "first-file-value, second-file-value"
    assert scrub(text) == quick(text) == f"{STARS}, {STARS}"


def test_a_secret_file_that_is_edited_in_place_is_hidden_soon_and_at_once_in_what_is_forked(
    tmp_path: Path,
) -> None:
    file = tmp_path / "api-token"
    file.write_text("first-file-value")
    hide_files_in(tmp_path)
    quick = scrubber()
    assert scrub("first-file-value") == quick("first-file-value") == STARS
    file.write_text("other-file-value")  # of the same length, in the same file
    wait_until("the edit to be seen", lambda: scrub("other-file-value") == STARS or "not yet")
    assert quick("first-file-value, other-file-value") == f"{STARS}, {STARS}"
    with file.open("a") as more:
        more.write("\nthird-file-value")
    hide_files_in(tmp_path)
    assert quick("third-file-value") == STARS


@contextmanager
def as_another_user() -> Iterator[None]:
    """root may read any file."""
    before = os.geteuid()
    if not before:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_secret_file_that_could_not_be_read_is_hidden_once_it_can_be() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        file, odd = folder / "api-token", folder / "odd-token"
        file.write_text("late-file-value")
        odd.write_bytes(b"\xffdd-file-value")
        file.chmod(0)
        before = odd.stat()
        hide_files_in(folder)
        with as_another_user():
            assert scrub("late-file-value") == "late-file-value"
        file.chmod(0o644)
        odd.write_text("odd-file-value")
        os.utime(odd, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert odd.stat().st_size == before.st_size
        hide_files_in(folder)
        with as_another_user():
            assert scrub("late-file-value odd-file-value") == f"{STARS} {STARS}"


def test_a_file_says_whether_it_was_read(tmp_path: Path) -> None:
    assert not hide_file(tmp_path)
    assert not hide_file(tmp_path / "none")
    (tmp_path / "token").write_text("a-read-value")
    assert hide_file(tmp_path / "token") and scrub("a-read-value") == STARS
