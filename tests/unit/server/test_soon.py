"""What may take long to make is waited for a moment."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mage_dbt.server.pages.soon import MOMENT_SECONDS, Soon
from tests.harness.waiting import SECONDS, wait_until


def test_what_is_there_at_once_is_given() -> None:
    assert Soon[str]().of("run", lambda: "rest") == "rest"


def test_what_takes_long_is_made_once_for_all_who_ask_and_given_later() -> None:
    soon, may_end, begun = Soon[str](), threading.Event(), []

    def make() -> str:
        begun.append("once")
        may_end.wait(SECONDS)
        return "rest"

    assert soon.of("run", make) is None
    assert soon.of("run", make) is None
    assert soon.of("other", lambda: "another") == "another"
    may_end.set()
    for thread in alive():
        thread.join(SECONDS)
    assert begun == ["once"]
    assert soon.of("run", lambda: "made anew") == "made anew"


def test_what_somebody_went_without_is_kept_for_them_and_given_once() -> None:
    soon, may_end, made = Soon[str](kept_seconds=SECONDS), threading.Event(), threading.Event()

    def make() -> str:
        may_end.wait(SECONDS)
        made.set()
        return "plan"

    assert soon.of("plan", make) is None
    may_end.set()
    assert made.wait(SECONDS)
    assert soon.of("plan", lambda: "made anew", None) == "plan"
    wait_until("it is kept no longer", lambda: not alive() or "its thread lives")
    assert soon.of("plan", lambda: "made anew", None) == "made anew"


def test_a_deadline_within_what_is_made_is_no_patience_that_ends() -> None:
    def make() -> str:
        raise TimeoutError("the database's")

    with pytest.raises(TimeoutError, match="the database's"):
        Soon[str]().of("plan", make)


def test_without_a_limit_it_is_waited_for() -> None:
    may_end = threading.Event()
    threading.Timer(MOMENT_SECONDS * 3, may_end.set).start()
    assert Soon[bool]().of("plan", lambda: may_end.wait(SECONDS), None) is True


def test_who_leaves_while_it_is_made_ends_it_for_nobody_else() -> None:
    soon, may_end, begun = Soon[str](), threading.Event(), []

    def make() -> str:
        begun.append("once")
        may_end.wait(SECONDS)
        return "plan"

    async def both() -> str:
        leaves = asyncio.create_task(soon.made("plan", make))
        stays = asyncio.create_task(soon.made("plan", make))
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.wait([leaves])
        assert leaves.cancelled()
        may_end.set()
        return await stays

    assert asyncio.run(both()) == "plan"
    assert begun == ["once"]


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "soon"]


def test_an_error_is_that_of_whoever_asks() -> None:
    def make() -> str:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        Soon[str]().of("run", make)
