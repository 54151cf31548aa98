"""Promise 3: our workers' results equal the dbt command line's.

For each project of `tests/projects/behaviours` the same steps are done by the plain `dbt`, by the
cold worker and by the warm one, each in a warehouse of its own: same nodes, statuses, messages,
failures, SQL, relations, rows, grants, comments, indexes.

    ./scripts/test tests/differential/test_differential.py --thorough -k incremental
    ./scripts/test tests/differential/test_differential.py --thorough
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential.behaviours import Behaviour
from tests.differential.comparison import KNOWN, Comparison, Contenders, assembled
from tests.differential.contenders import CommandLine, base_environment, installed_dbt, prepare

pytestmark = pytest.mark.side_by_side

USUAL = ("together", "naming", "fail_fast", "retries", "selectors")
"""Without `--thorough`: most behaviours at once, and what only a root project or a flag can do."""

SECONDS = 1800
"""For one behaviour, on a machine that does a dozen other things."""

COLD_STEPS = 2
"""Of each behaviour the cold worker does the first two, unless `--thorough`: it starts dbt for each
as the command line does, and shares with the warm one all that comes after."""


@pytest.fixture(scope="module")
def contenders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contenders]:
    with assembled(tmp_path_factory.mktemp("contenders")) as found:
        yield found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """CI does the usual behaviours, in the time it has; `--thorough` does all."""
    if "behaviour" in metafunc.fixturenames:
        thorough = metafunc.config.getoption("--thorough")
        chosen = [one for one in KNOWN if thorough or one.name in USUAL]
        metafunc.parametrize(
            "behaviour",
            [
                pytest.param(
                    one,
                    id=one.name,
                    marks=pytest.mark.xfail(reason=one.differs, strict=True) if one.differs else (),
                )
                for one in chosen
            ],
        )


@pytest.mark.timeout(SECONDS)
def test_the_command_line_and_our_workers_agree(
    behaviour: Behaviour, contenders: Contenders, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    steps = behaviour.steps
    cold_steps = len(steps) if request.config.getoption("--thorough") else COLD_STEPS
    shortcuts = not request.config.getoption("--without-shortcuts")
    with Comparison(behaviour, tmp_path, contenders, cold_steps, shortcuts) as comparison:
        said = comparison.differences(steps)
    assert not said, said


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("name", ["retries", "selectors"])
def test_they_agree_without_shortcuts_too(
    name: str, contenders: Contenders, tmp_path: Path
) -> None:
    behaviour = next(one for one in KNOWN if one.name == name)
    with Comparison(behaviour, tmp_path, contenders, cold_steps=1, shortcuts=False) as comparison:
        said = comparison.differences(behaviour.steps)
    assert not said, said


def test_a_forked_command_line_is_the_program_itself(
    contenders: Contenders, tmp_path: Path
) -> None:
    """What the others are compared with, compared with `dbt` as a person starts it."""
    behaviour = next(one for one in KNOWN if one.name == "surroundings")
    ready = prepare(behaviour.project, tmp_path / "ready", contenders.theirs, contenders.program)
    found = []
    for name, program in (("forked", contenders.program), ("installed", installed_dbt)):
        contender = CommandLine(name, contenders.theirs, tmp_path / "stage", program=program)
        contenders.theirs.make(contender.database)
        found.append(
            [contender.do(step, ready, base_environment()) for step in behaviour.steps[:2]]
        )
        contenders.theirs.drop(contender.database)
    for forked, installed in zip(*found, strict=True):
        assert installed.nodes
        assert installed.differences(forked) == []
