"""Whether Mage answers, or is only starting."""

from __future__ import annotations

from pathlib import Path

from mage_dbt.home import Home
from mage_dbt.model.now import MageState
from mage_dbt.runner.mage_watch import START_SECONDS, MageWatch
from mage_dbt.settings import Settings


def test_mage_is_starting_for_a_bounded_time_and_never_again(tmp_path: Path) -> None:
    now = [0.0]
    settings = Settings.load({"WORKSPACE_HOME": str(tmp_path)}, tmp_path / "no.env")

    def watch() -> MageWatch:
        return MageWatch(settings, Home(tmp_path), lambda: now[0])

    one = watch()
    states: list[MageState | None] = []
    assert one.state is None, "nobody has looked yet"
    one.has(answered=False)
    for now[0] in (0, START_SECONDS - 1, START_SECONDS):
        states.append(one.state)
    one.has(answered=True)
    states.append(one.state)
    starting, away = MageState.STARTING, MageState.AWAY
    assert states == [starting, starting, away, MageState.ANSWERS]

    another = watch()
    another.has(answered=True)
    another.has(answered=False)
    assert another.state is MageState.AWAY, "it had started, so it is not starting now"
