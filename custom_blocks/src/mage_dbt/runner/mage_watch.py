"""Watches whether Mage answers. The page and the API work without it."""

from __future__ import annotations

import time
from collections.abc import Callable

from mage_dbt.home import Home
from mage_dbt.mage.api import MageApi
from mage_dbt.model.now import MageState
from mage_dbt.settings import Settings

ANSWER_SECONDS = 2.0
"""How long Mage has for its answer; an idle one needs much less."""

START_SECONDS = 120.0
"""How long after the runner's start a Mage that has not answered yet is taken to be starting: on
two busy cores it needs a minute."""


class MageWatch:
    """Knows how Mage is, by the last look at it; `look` is for one thread."""

    def __init__(
        self, settings: Settings, home: Home, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._home = home
        self._clock = clock
        self._begun = clock()
        self._answers: bool | None = None
        self._has_answered = False

    def look(self) -> None:
        with MageApi(self._settings, self._home) as mage:
            self.has(mage.answers(ANSWER_SECONDS))

    def has(self, answered: bool) -> None:
        """What a look has found."""
        self._answers = answered
        self._has_answered = self._has_answered or answered

    @property
    def state(self) -> MageState | None:
        """None before the first look: a runner that starts anew beside a Mage knows nothing yet."""
        if self._answers is None:
            return None
        if self._answers:
            return MageState.ANSWERS
        if not self._has_answered and self._clock() - self._begun < START_SECONDS:
            return MageState.STARTING
        return MageState.AWAY
