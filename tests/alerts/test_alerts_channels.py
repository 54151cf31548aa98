"""Channels: the file of addresses, what gets through, and what of an address ever gets out."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mage_dbt.alerts.channels import ChannelFile
from mage_dbt.alerts.message import one_line
from mage_dbt.model.alert import Kind, Message
from tests.harness.ports import free_ports
from tests.harness.services import service

CANARY = "canary7be1"

HARMFUL = "<script>*x*</script> <!here> @channel"

MESSAGE = Message(Kind.FAILURE, "It failed", f"Failed: {one_line(HARMFUL, 100)}\nWhy: *x*")


def file_of(tmp_path: Path, *lines: str, mode: int = 0o600) -> ChannelFile:
    file = tmp_path / "alert-urls"
    file.write_text("\n".join(lines))
    file.chmod(mode)
    return ChannelFile(file, "key")


def only(file: ChannelFile) -> Any:
    channels = file.read()
    assert len(channels.by_digest) == 1, channels
    return next(iter(channels.by_digest.values()))


def test_without_a_file_there_is_no_channel_and_apprise_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mage_dbt.runner import service;"
        "from mage_dbt.alerts.channels import ChannelFile;"
        f"print(ChannelFile(Path({str(tmp_path / 'none')!r}), 'key').read().missing);"
        "print('apprise' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr
    missing = ChannelFile(tmp_path / "none", "key")
    assert "nobody is told" in missing.read().report(missing.path)[0]


def test_a_change_of_the_file_is_seen_without_a_restart(tmp_path: Path) -> None:
    file = file_of(tmp_path, "# none yet", "")
    assert file.read().by_digest == {}
    file.path.write_text("json://127.0.0.1:1/a\n\n  # a comment\njson://127.0.0.1:1/b\n")
    assert file.read().by_digest == {}  # it may not be written to its end yet
    assert [one.line for one in file.read().by_digest.values()] == [1, 4]
    text = file.path.read_text()
    file.path.unlink()
    assert not file.read().missing  # an editor may be about to put it back
    file.path.write_text(text)
    assert len(file.read().by_digest) == 2
    file.path.unlink()
    file.read()
    assert file.read().missing


def test_a_file_others_can_read_is_used_and_reported(tmp_path: Path) -> None:
    file = file_of(tmp_path, "json://127.0.0.1:1", mode=0o644)
    lines = file.read().report(file.path)
    assert lines[0] == "line 1, JSON" and "chmod 600" in lines[1]


def test_a_file_that_is_no_text_is_reported_and_leaves_open_where_alerts_go(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    file.path.write_bytes(b"\xff\xfe\x00")
    found = file.read()
    assert found.unreadable and not found.missing
    assert "cannot be read" in found.report(file.path)[0]


def test_text_arrives_as_it_was_written(tmp_path: Path) -> None:
    with service() as good:
        assert only(file_of(tmp_path, good.address())).send(MESSAGE) == ""
    assert good.received[0]["title"] == MESSAGE.title
    assert good.received[0]["message"] == MESSAGE.body
    assert good.received[0]["type"] == "failure"


@pytest.mark.parametrize(
    ("form", "wanted"), [("html", "*x*"), ("markdown", r"\*x\*"), ("text", "*x*")]
)
def test_what_dbt_wrote_is_text_in_every_form(tmp_path: Path, form: str, wanted: str) -> None:
    with service() as good:
        channel = only(file_of(tmp_path, f"{good.address()}?format={form}"))
        assert channel.send(MESSAGE) == ""
    got = good.received[0]["message"]
    assert wanted in got
    for forbidden in ("<script", "</script", "<!here", "@channel"):
        assert forbidden not in got


def test_a_problem_is_reported_without_the_address(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    dead = only(file_of(tmp_path, f"json://{CANARY}:{CANARY}@127.0.0.1:{port}/{CANARY}"))
    assert dead.send(MESSAGE) == "it could not be reached, or refused"
    for status in (301, 401, 429, 500):
        with service(status) as bad:
            channel = only(file_of(tmp_path, bad.address(CANARY)))
            assert channel.send(MESSAGE) == f"it answered {status}"


def test_nothing_of_an_address_is_logged_even_when_everything_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.NOTSET)
    (port,) = free_ports(1)
    with service() as good, service(500) as bad:
        file = file_of(
            tmp_path,
            good.address(CANARY),
            bad.address(CANARY),
            f"json://{CANARY}:{CANARY}@127.0.0.1:{port}/{CANARY}?+X-Token={CANARY}",
            f"https://hooks.slack.com/services/{CANARY}",
            f"{CANARY}://{CANARY}",
            f"slack://{CANARY}",
            CANARY,
        )
        found = file.read()
        assert len(found.by_digest) == 3 and found.unknown_lines == (4, 5, 6, 7)
        for one in found.by_digest.values():
            one.send(MESSAGE)
    assert len(good.received) == 1
    shown = "".join(capfd.readouterr())
    everything = f"{caplog.text} {shown} {found} {found.report(file.path)}"
    assert "line 5 of" in everything
    assert CANARY not in everything


@pytest.mark.parametrize(
    "address",
    [
        "slack://TokenA123/TokenB123/TokenC12345678901234567890/#alerts",
        "https://hooks.slack.com/services/T1234567A/B1234567A/abcdefghijklmnopqrstuvwx",
        "mailtos://kim:secret@example.com?to=team@example.com",
        "mailto://smtp.example.com:25?from=mage@example.com&to=team@example.com",
        "tgram://123456789:abcdefg_hijklmnop/12315544/",
        "workflows://prod-01.westeurope.logic.azure.com:443/643e69f83c8944/signature/",
    ],
)
def test_the_forms_that_the_docs_name_are_known(tmp_path: Path, address: str) -> None:
    assert len(file_of(tmp_path, address).read().by_digest) == 1


def test_the_tool_refuses_to_test_when_there_is_nobody_to_send_to(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mage_dbt.tool", "alert-test"],
        env={"PATH": os.environ["PATH"], "WORKSPACE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert (
        done.stderr.startswith("nobody is told: there is no ") and "docs/alerts.md" in done.stderr
    )
