"""The channels: the addresses in the secret file, and the sending of a message to one of them.

Apprise (https://github.com/caronc/apprise) knows the services. It is imported only when there is a
file, because it costs time and memory. An address holds tokens and passwords, so it never leaves
this module. People read line numbers and services, the ledger keeps a keyed digest, and the logs of
apprise and its HTTP client are dropped.
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

from mage_dbt.base.redaction import hide
from mage_dbt.model.alert import Kind, Message

log = logging.getLogger(__name__)

STATUS_CODE = re.compile(r"\berror=(\d{3})\b")
"""The only part of apprise's warnings that is used. The rest may hold the address."""

MISSING = "missing"


ATTEMPT_SECONDS = 30.0
"""How long a service may take to accept one message."""


@dataclass(frozen=True)
class Channel:
    """One address of the file. Its `send` blocks, so call it in a thread of its own."""

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
        """Sends a message once; empty when the service took it, else why not."""
        return _send(self.plugin, message)


@dataclass(frozen=True)
class Channels:
    """The channels in the file when it was last read."""

    by_digest: Mapping[str, Channel] = field(default_factory=dict)
    unknown_lines: tuple[int, ...] = ()
    """Line numbers that apprise takes for no address."""
    missing: bool = False
    unreadable: str = ""
    """Why an existing file cannot be read. Then nobody knows where alerts go."""
    open_to_others: bool = False

    @property
    def labels(self) -> str:
        """The labels of all channels, in a line."""
        return "; ".join(channel.label for channel in self.by_digest.values())

    def report(self, file: Path) -> list[str]:
        """What a person should know of the file, line by line; never an address."""
        if self.missing:
            return [f"nobody is told: there is no {file} (docs/alerts.md)"]
        if self.unreadable:
            return [f"{file} cannot be read: {self.unreadable}"]
        nobody = f"nobody is told: {file} holds no address that can be used (docs/alerts.md)"
        lines = [self.labels or nobody]
        lines += [
            f"line {line} of {file} is no address that apprise knows" for line in self.unknown_lines
        ]
        if self.open_to_others:
            lines.append(f"others can read {file}: chmod 600 it")
        return lines


class ChannelFile:
    """The file of addresses, read again whenever it changes. For one thread."""

    def __init__(self, path: Path, key: str) -> None:
        """`key` is a secret of this workspace. With it a digest reveals nothing of its address."""
        self.path = path
        self._key = key.encode()
        self._version: str | None = None
        self._last_seen = ""
        self._channels = Channels(missing=True)

    def read(self) -> Channels:
        """The channels; logs what changed, once.

        A change counts when two calls have seen the same file: an editor may remove the file for a
        moment, or write it in parts.
        """
        status: os.stat_result | None = None
        try:
            status = self.path.stat()
            version = repr((status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode))
        except FileNotFoundError:
            version = MISSING
        except OSError as error:
            version = str(error.strerror)
        settled = version == self._last_seen or self._version is None
        self._last_seen = version
        if settled and version != self._version:
            self._version, self._channels = version, self._parse(status, version)
            labels = self._channels.labels
            for line in self._channels.report(self.path):
                log.log(logging.INFO if line == labels else logging.WARNING, "alerts: %s", line)
        return self._channels

    def _parse(self, status: os.stat_result | None, problem: str) -> Channels:
        if status is None:
            return Channels(missing=True) if problem == MISSING else Channels(unreadable=problem)
        try:
            text = self.path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            return Channels(unreadable=getattr(error, "strerror", "") or "it is not text")
        channels, unknown = {}, []
        for number, line in enumerate(text.splitlines(), start=1):
            address = line.strip()
            if not address or address.startswith("#"):
                continue
            hide(address)
            plugin = _plugin(address)
            if plugin is None:
                unknown.append(number)
                continue
            digest = hmac.new(self._key, address.encode(), hashlib.sha256).hexdigest()[:16]
            channels[digest] = Channel(digest, number, str(plugin.service_name), plugin)
        # A mounted secret belongs to another user, and only its container sees it.
        ours = status.st_uid == os.geteuid()
        open_to_others = ours and bool(status.st_mode & 0o077)
        return Channels(channels, tuple(unknown), open_to_others=open_to_others)


@cache
def _apprise() -> Any:
    """Apprise, with its logs silenced: they and those of its HTTP client may hold an address."""
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
    """Keeps of apprise's warnings the status code, which `_send` reads, and drops the rest."""
    code = STATUS_CODE.search(record.getMessage())
    record.msg, record.args = code.group() if code else "", ()
    return code is not None


def _plugin(address: str) -> Any:
    apprise = _apprise()
    # No time limits and no threads of apprise's own: a service that hangs would hold its shared
    # pool, and the exit would wait for it. It stores nothing on disk. It follows no redirect, which
    # could send a token elsewhere.
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
        Kind.NEWS: apprise.NotifyType.INFO,
    }
    sender = apprise.Apprise(asset=plugin.asset)
    sender.add(plugin)
    # As text: apprise escapes it when the service reads HTML or markdown.
    result = sender.notify(
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
