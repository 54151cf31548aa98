"""The channels: the addresses in the secret file, and one message sent to one of them.

Apprise (https://github.com/caronc/apprise) knows the services. It is imported only when there is a
file: that costs time and memory. An address holds tokens and passwords, so it never leaves this
module: people read of line numbers and services, the ledger keeps a keyed digest, and what apprise
and its HTTP client log goes nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mage_dbt.alerts.message import Kind, Message

log = logging.getLogger(__name__)

STATUS_CODE = re.compile(r"\berror=(\d{3})\b")
"""Of what apprise says about a failed try, only this is told on; the rest may hold the address."""


MISSING = "missing"


@dataclass(frozen=True)
class Channel:
    """One address of the file. Its `send` blocks; call it in a thread of its own."""

    digest: str
    line: int
    service: str
    plugin: Any = field(repr=False)
    """Apprise's own object, which knows the address."""

    @property
    def label(self) -> str:
        """What people read: `line 2, Slack`."""
        return f"line {self.line}, {self.service}"

    def send(self, message: Message) -> str:
        """Sends it once; gives nothing when the service took it, else why not, in our words."""
        return _send(self.plugin, message)


@dataclass(frozen=True)
class Found:
    """What the file held when it was last read."""

    channels: Mapping[str, Channel] = field(default_factory=dict)
    """By digest."""
    unknown: tuple[int, ...] = ()
    """Line numbers of what apprise takes for no address."""
    missing: bool = False
    unreadable: str = ""
    """Why the file that is there cannot be read; then it is not known who is to be told."""
    open_to_others: bool = False

    @property
    def labels(self) -> str:
        """Whom messages go to, in a line."""
        return "; ".join(one.label for one in self.channels.values())


class Channels:
    """The channels of one file, read again whenever it changes. For one thread."""

    def __init__(self, file: Path, key: str) -> None:
        """`key` is a secret of this workspace; with it, a digest says nothing of its address."""
        self.file = file
        self._key = key.encode()
        self._version: str | None = None
        self._seen = ""
        self._found = Found(missing=True)

    def look(self) -> Found:
        """What the file holds; says in the log what changed, once.

        A change counts when two looks have seen the same: an editor may take the file away for a
        moment, or write it in parts.
        """
        now: os.stat_result | None = None
        try:
            now = self.file.stat()
            version = repr((now.st_mtime_ns, now.st_size, now.st_ino, now.st_mode))
        except FileNotFoundError:
            version = MISSING
        except OSError as error:
            version = str(error.strerror)
        settled = version == self._seen or self._version is None
        self._seen = version
        if settled and version != self._version:
            self._version, self._found = version, self._read(now, version)
            right = self._found.labels
            for line in told(self.file, self._found):
                log.log(logging.INFO if line == right else logging.WARNING, "alerts: %s", line)
        return self._found

    def _read(self, now: os.stat_result | None, problem: str) -> Found:
        if now is None:
            return Found(missing=True) if problem == MISSING else Found(unreadable=problem)
        try:
            text = self.file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            return Found(unreadable=getattr(error, "strerror", "") or "it is not text")
        channels, unknown = {}, []
        for number, line in enumerate(text.splitlines(), start=1):
            address = line.strip()
            if not address or address.startswith("#"):
                continue
            plugin = _plugin(address)
            if plugin is None:
                unknown.append(number)
                continue
            digest = hmac.new(self._key, address.encode(), hashlib.sha256).hexdigest()[:16]
            channels[digest] = Channel(digest, number, str(plugin.service_name), plugin)
        # A mounted secret is another user's, and its container alone has it: nothing to close.
        ours = now.st_uid == os.geteuid()
        return Found(channels, tuple(unknown), open_to_others=ours and bool(now.st_mode & 0o077))


def told(file: Path, found: Found) -> list[str]:
    """What a person should know of the file, a line each; never what it holds."""
    lines = []
    if found.missing:
        return [f"nobody is told: there is no {file} (docs/alerts.md)"]
    if found.unreadable:
        return [f"{file} cannot be read: {found.unreadable}"]
    if found.channels:
        lines.append(found.labels)
    else:
        lines.append(f"nobody is told: {file} holds no address that can be used (docs/alerts.md)")
    lines += [f"line {line} of {file} is no address that apprise knows" for line in found.unknown]
    if found.open_to_others:
        lines.append(f"others can read {file}: chmod 600 it")
    return lines


@cache
def _apprise() -> Any:
    """Apprise, silenced. What it and its HTTP client log may hold an address."""
    for name in ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib", "markdown"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING if name == "apprise" else logging.CRITICAL + 1)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
        logger.addFilter(_only_status_codes)
    import apprise
    import urllib3

    urllib3.disable_warnings()
    return apprise


def _only_status_codes(record: logging.LogRecord) -> bool:
    """Of apprise's warnings, `_send` reads the status code; everything else stays unsaid."""
    code = STATUS_CODE.search(record.getMessage())
    record.msg, record.args = code.group() if code else "", ()
    return code is not None


def _plugin(address: str) -> Any:
    apprise = _apprise()
    # No time limits and threads of apprise's own: its shared pool would be held by a service that
    # hangs, and waited for at exit. Nothing is stored on disk; redirects may lead a token astray.
    asset = apprise.AppriseAsset(
        app_id="mage-dbt",
        app_desc="mage-dbt",
        async_mode=False,
        service_timeout=0,
        http_redirects=False,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        allow_templates=False,
        interpret_emojis=False,
    )
    try:
        return apprise.Apprise.instantiate(address, asset=asset)
    except Exception:  # whatever a plugin raises may hold the address
        return None


def _send(plugin: Any, message: Message) -> str:
    apprise = _apprise()
    kinds = {
        Kind.FAILURE: apprise.NotifyType.FAILURE,
        Kind.BROKEN: apprise.NotifyType.FAILURE,
        Kind.OVERDUE: apprise.NotifyType.WARNING,
        Kind.RECOVERY: apprise.NotifyType.SUCCESS,
    }
    one = apprise.Apprise(asset=plugin.asset)
    one.add(plugin)
    # As text: apprise escapes it where the service reads HTML or markdown.
    result = one.notify(
        message.body,
        title=message.title,
        notify_type=kinds[message.kind],
        body_format=apprise.NotifyFormat.TEXT,
    )
    if result:
        return ""
    codes = [
        match.group(1)
        for service in result
        for entry in service.logs()
        if (match := STATUS_CODE.search(entry.message))
    ]
    return f"it answered {codes[-1]}" if codes else "it could not be reached, or refused"
