"""`mage-dbt alert-test`: a test message on every channel, and what became of it."""

from __future__ import annotations

import platform
import threading
from dataclasses import dataclass

from mage_dbt.alerts import message
from mage_dbt.alerts.channels import Channel, Channels, told
from mage_dbt.alerts.post import Patience
from mage_dbt.errors import SettingError
from mage_dbt.home import Home
from mage_dbt.settings import Settings


@dataclass(frozen=True)
class Tried:
    """What became of a test message on one channel; `problem` is empty when it was taken."""

    channel: str
    problem: str


def send(settings: Settings, home: Home) -> list[Tried]:
    """Sends a test message on every channel at once, from this process, runner or no runner.

    Raises SettingError when there is nobody to send to.
    """
    channels = Channels(settings.alert_urls_file or home.alert_urls, "nothing is kept of a test")
    found = channels.look()
    if not found.channels:
        raise SettingError(f"{'; '.join(told(channels.file, found))}.")
    answers: dict[str, Tried] = {}

    def one_try(channel: Channel) -> None:
        problem = channel.send(message.trial(platform.node()))
        answers[channel.digest] = Tried(channel.label, problem)

    seconds = Patience().one_try
    threads = [
        (one, threading.Thread(target=one_try, args=(one,), daemon=True))
        for one in found.channels.values()
    ]
    for _, thread in threads:
        thread.start()
    for _, thread in threads:
        thread.join(seconds)
    missing = f"no answer within {seconds:.0f} s"
    tried = [answers.get(one.digest, Tried(one.label, missing)) for one, _ in threads]
    unknown = "no address that apprise knows"
    return [*tried, *(Tried(f"line {line}", unknown) for line in found.unknown)]
