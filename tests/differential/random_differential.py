"""The differential test with random requests, variables, environments and commits; not part of CI.

./scripts/test tests/differential/random_differential.py --random-size 200 --random-seed 1
"""

from __future__ import annotations

import random
import secrets
import shutil
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.differential.comparison import KNOWN, Comparison, Contenders, assembled

STEPS_AT_ONCE = 4
"""Random steps on one project; each such series begins with an empty warehouse."""

SIZE = 20
"""Random steps without --random-size."""


@pytest.fixture
def contenders(tmp_path: Path) -> Iterator[Contenders]:
    with assembled(tmp_path / "contenders") as found:
        yield found


@pytest.mark.timeout(7200)
def test_random_requests_agree(
    contenders: Contenders,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    size = request.config.getoption("--random-size") or SIZE
    seed = request.config.getoption("--random-seed")
    seed = secrets.randbelow(10**6) if seed is None else seed
    chance = random.Random(seed)
    began = time.monotonic()
    said: list[str] = []
    for done in range(0, size, STEPS_AT_ONCE):
        behaviour = chance.choice([one for one in KNOWN if not one.differs and not one.parts])
        steps = list(islice(behaviour.random_steps(chance), min(STEPS_AT_ONCE, size - done)))
        with Comparison(behaviour, tmp_path / str(done), contenders, cold_steps=0) as comparison:
            found = comparison.differences(steps)
        if found:
            script = "\n".join(f"step {at}: {one.said()}" for at, one in enumerate(steps, 1))
            said.append(f"=== {behaviour.name}\n{script}\n{found}")
        shutil.rmtree(tmp_path / str(done))
        with capsys.disabled():  # a test of an hour is watched while it goes on
            print(
                f"[{time.monotonic() - began:.0f} s] {done + len(steps)} of {size} steps, "
                f"--random-seed {seed}: {behaviour.name}{', DIFFERS' if found else ''}",
                flush=True,
            )
    assert not said, "\n\n".join([f"--random-seed {seed} --random-size {size}", *said])
