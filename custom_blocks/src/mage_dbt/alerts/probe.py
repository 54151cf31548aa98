"""A test message to every channel, and what became of it: for the tool and for the runner."""

from __future__ import annotations

import platform
import threading
import time

from mage_dbt.alerts import message
from mage_dbt.alerts.channels import ATTEMPT_SECONDS, Channel, ChannelFile
from mage_dbt.errors import Conflict, SettingError, TooManyRequests
from mage_dbt.home import Home
from mage_dbt.model.alert import Outcome
from mage_dbt.settings import Settings

APART_SECONDS = 10.0
"""Between two test messages that the runner sends: they reach people."""


class Probe:
    """The runner's test messages; from any thread."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self._guard = threading.Lock()
        self._last = -APART_SECONDS

    def send(self) -> list[Outcome]:
        """As `send`. Raises Conflict without a channel, TooManyRequests shortly after another."""
        with self._guard:
            wait = self._last + APART_SECONDS - time.monotonic()
            if wait > 0:
                raise TooManyRequests(
                    "A test message was sent just now, and everybody got it.",
                    f"Send the next one in {round(wait) or 1} s.",
                )
            self._last = time.monotonic()
        try:
            return send(self._settings, self._home)
        except SettingError as error:
            self._last = -APART_SECONDS  # nobody got anything
            raise Conflict(error.message, error.hint) from None


def send(settings: Settings, home: Home) -> list[Outcome]:
    """Sends a test message to every channel at once, from this process, with or without a runner.

    Raises SettingError when there is no channel.
    """
    # The ledger keeps nothing of a test, so the key of the digests does not matter.
    file = ChannelFile(settings.alert_urls_file or home.alert_urls, "test")
    channels = file.read()
    if not channels.by_digest:
        raise SettingError(f"{'; '.join(channels.report(file.path))}.")
    outcomes: dict[str, Outcome] = {}

    def attempt(channel: Channel) -> None:
        try:
            problem = channel.send(message.test(platform.node()))
        except Exception as error:  # its text may hold the address; its type does not
            problem = f"sending failed ({type(error).__name__})"
        outcomes[channel.digest] = Outcome(channel.label, problem)

    threads = [
        (channel, threading.Thread(target=attempt, args=(channel,), daemon=True))
        for channel in channels.by_digest.values()
    ]
    for _, thread in threads:
        thread.start()
    deadline = time.monotonic() + ATTEMPT_SECONDS
    for _, thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {ATTEMPT_SECONDS:.0f} s"
    found = [outcomes.get(channel.digest, Outcome(channel.label, late)) for channel, _ in threads]
    unknown = "no address that apprise knows"
    return [*found, *(Outcome(f"line {line}", unknown) for line in channels.unknown_lines)]
