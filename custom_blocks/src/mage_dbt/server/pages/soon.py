"""What may take long to make: a page waits for it a moment, and otherwise shows it later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Made = TypeVar("Made")

MOMENT_SECONDS = 0.08
"""How long a page waits."""


@dataclass
class _Begun(Generic[Made]):
    """Something that is being made."""

    future: Future[Made] = field(default_factory=Future)
    missed: bool = False
    """Whether somebody went without it."""
    taken: threading.Event = field(default_factory=threading.Event)


class Soon(Generic[Made]):
    """Makes each thing once, however many ask for it meanwhile.

    What somebody went without is kept for them for `kept_seconds`; nothing else is kept.
    """

    def __init__(self, kept_seconds: float = 0.0) -> None:
        self._kept_seconds = kept_seconds
        self._guard = threading.Lock()
        self._begun: dict[str, _Begun[Made]] = {}

    def of(
        self, key: str, make: Callable[[], Made], seconds: float | None = MOMENT_SECONDS
    ) -> Made | None:
        """What `make` gives; None when that takes longer than `seconds`. It goes on being made.

        Without `seconds` it waits until it is made. Raises what `make` raises.
        """
        begun = self._begin(key, make)
        try:
            return begun.future.result(seconds)
        except TimeoutError:
            if begun.future.done():  # just now, or it is what `make` raised
                return begun.future.result()
            begun.missed = True
            return None
        finally:
            if begun.future.done():
                begun.taken.set()

    async def made(self, key: str, make: Callable[[], Made]) -> Made:
        """What `make` gives, however long it takes; no thread waits. Raises what `make` raises."""
        begun = self._begin(key, make)
        try:
            return await asyncio.shield(asyncio.wrap_future(begun.future))
        finally:
            if begun.future.done():
                begun.taken.set()

    def _begin(self, key: str, make: Callable[[], Made]) -> _Begun[Made]:
        """What is being made under the key, from now on or already."""
        with self._guard:
            begun = self._begun.get(key)
            if begun is None:
                begun = self._begun[key] = _Begun()
                threading.Thread(
                    target=self._make, args=(key, begun, make), name="soon", daemon=True
                ).start()
        return begun

    def _make(self, key: str, begun: _Begun[Made], make: Callable[[], Made]) -> None:
        try:
            begun.future.set_result(make())
        except BaseException as error:
            begun.future.set_exception(error)
        finally:
            if begun.missed:
                begun.taken.wait(self._kept_seconds)
            with self._guard:
                del self._begun[key]
