"""The differential test with random requests, variables, environments and commits; not part of CI.

./scripts/test tests/dbt/differential_sweep.py --campaign-size 200 --campaign-seed 1
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

from tests.dbt.stage import KNOWN, Cast, Stage, assembled

PLAYED_AT_ONCE = 4
"""Random acts on one project; each such play begins with an empty warehouse."""

SIZE = 20
"""Random acts without --campaign-size."""


@pytest.fixture
def cast(tmp_path: Path) -> Iterator[Cast]:
    with assembled(tmp_path / "cast") as found:
        yield found


@pytest.mark.timeout(7200)
def test_random_requests_agree(
    cast: Cast,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    size = request.config.getoption("--campaign-size") or SIZE
    seed = request.config.getoption("--campaign-seed")
    seed = secrets.randbelow(10**6) if seed is None else seed
    chance = random.Random(seed)
    began = time.monotonic()
    said: list[str] = []
    for done in range(0, size, PLAYED_AT_ONCE):
        behaviour = chance.choice([one for one in KNOWN if not one.differs and not one.parts])
        acts = list(islice(behaviour.random_acts(chance), min(PLAYED_AT_ONCE, size - done)))
        with Stage(behaviour, tmp_path / str(done), cast, cold_acts=0) as stage:
            found = stage.differences(acts)
        if found:
            script = "\n".join(f"act {at}: {one.said()}" for at, one in enumerate(acts, 1))
            said.append(f"=== {behaviour.name}\n{script}\n{found}")
        shutil.rmtree(tmp_path / str(done))
        with capsys.disabled():  # a campaign of an hour is watched while it goes on
            print(
                f"[{time.monotonic() - began:.0f} s] {done + len(acts)} of {size} acts, "
                f"--campaign-seed {seed}: {behaviour.name}{', DIFFERS' if found else ''}",
                flush=True,
            )
    assert not said, "\n\n".join([f"--campaign-seed {seed} --campaign-size {size}", *said])
