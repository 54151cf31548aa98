"""How often a caller may call: a window that moves along, kept in memory."""

from __future__ import annotations

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

STRICTER = 30
"""Of 600 calls a minute 20 may have no right token: far more than a person mistypes, far less than
guessing needs. They are counted apart, so that nobody locks out who has the token."""


class CallLimits:
    """The calls over TCP. Methods give 0, or the whole seconds until the next call may come."""

    def __init__(self, calls_per_minute: int) -> None:
        self.calls_per_minute = calls_per_minute
        self.wrong_tokens_per_minute = max(1, calls_per_minute // STRICTER)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._calls = RateLimitItemPerMinute(calls_per_minute)
        self._wrong = RateLimitItemPerMinute(self.wrong_tokens_per_minute)

    def call(self, caller: str) -> int:
        """One call of a caller who may call."""
        return self._take(self._calls, "call", caller)

    def wrong_token(self, address: str) -> int:
        """One call from an address without the right token."""
        return self._take(self._wrong, "wrong", address)

    def _take(self, item: RateLimitItemPerMinute, *who: str) -> int:
        if self._limiter.hit(item, *who):
            return 0
        reset = self._limiter.get_window_stats(item, *who).reset_time
        return max(1, math.ceil(reset - time.time()))
