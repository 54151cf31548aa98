"""What jsonb, a log or another's check cannot hold is replaced; what identifies is not touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mage_dbt.base.redaction import STARS, scrub_message
from mage_dbt.base.text import ascii_json, storable, storable_json
from mage_dbt.commits.export import files_for_dbt, pointers, submodules, touches
from mage_dbt.runner.run_folders import KEPT, RunFolders
from mage_dbt.workers.job import Job

BAD = "a\x00b\ud83dc"


def test_what_is_no_character_becomes_the_replacement_character() -> None:
    assert storable(BAD) == "a\ufffdb\ufffdc"
    assert storable(os.fsdecode(b"Men\xfc")) == "Men\ufffd"
    assert storable("🚀 서울") == "🚀 서울"
    data = {BAD: [BAD, {"n": float("nan"), "x": 1, "text": "\\u0000 as typed"}], "🚀": (1, None)}
    assert json.loads(storable_json(data)) == {
        "a\ufffdb\ufffdc": ["a\ufffdb\ufffdc", {"n": None, "x": 1, "text": "\\u0000 as typed"}],
        "🚀": [1, None],
    }
    assert json.loads(ascii_json([BAD, "🚀"])) == ["a\ufffdb\ufffdc", "🚀"]
    assert ascii_json(["🚀 é"]).isascii()


def test_a_secret_that_is_part_of_a_name_hides_in_free_text_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DBT_ENV_SECRET_DB", "shop")
    monkeypatch.setenv("DBT_ENV_SECRET_WORD", "success")
    told = {
        "kind": "node_finished",
        "node": "model.shop.orders",
        "name": "orders",
        "status": "success",
        "relation": '"shop"."analytics"."orders"',
        "message": 'database "shop" is no success',
        "notes": ["of shop"],
        "nodes": [{"node": "model.shop.orders"}],
    }
    assert scrub_message(told) == told | {
        "message": f'database "{STARS}" is no {STARS}',
        "notes": [f"of {STARS}"],
    }


def test_files_that_git_keeps_elsewhere_are_found_by_what_they_hold(tmp_path: Path) -> None:
    for name, content in {
        "seeds/countries.csv": b"version https://git-lfs.github.com/spec/v1\noid sha256:8a9c\n",
        "models/sealed.sql": b"\0GITCRYPT\0\x01\x02",
        "seeds/big.csv": b"/annex/objects/SHA256E-s30--8a9c.csv\n",
        "seeds/plain.csv": b"code,name\n",
        "logo.png": b"version https://git-lfs.github.com/spec/v1\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "seeds" / "nowhere.csv").symlink_to("not-there")
    found = pointers(files_for_dbt(tmp_path))
    assert {str(Path(file).relative_to(tmp_path)): what for file, what in found.items()} == {
        "seeds/countries.csv": "a Git LFS pointer",
        "models/sealed.sql": "encrypted by git-crypt",
        "seeds/big.csv": "a git-annex pointer",
    }


def test_a_submodule_matters_where_dbt_reads() -> None:
    listed = f"100644 blob {'a' * 40}\tx.sql\x00160000 commit {'b' * 40}\tshared lib\x00"
    assert list(submodules(listed)) == [("shared lib", "b" * 40)]
    read = ("models", "macros", "../shared/macros")
    assert touches("models/more", "", read)
    assert touches("models", "", read)
    assert touches("analytics/macros", "analytics", read)
    assert touches("shared", "analytics", read)  # dbt reads a folder inside it
    assert not touches("docs/theme", "", read)
    assert not touches("models", "analytics", read)


def job(folder: Path) -> Job:
    return Job(
        folder=folder,
        commit="",
        project=folder,
        parsed=folder.parents[1] / "commits" / "one" / "target",
        dbt_arguments=(),
        command="build",
        select=(),
        exclude=(),
        flags=(),
        variables={},
    )


def test_folders_of_runs_that_are_not_over_stay_however_many_there_are(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    names = [f"20261123-080000-{number:06x}" for number in range(KEPT + 5)]
    previews = ["plan-20261123-070000-000000", "plan-20261123-080000-000001"]
    asked: list[set[str]] = []

    def going_on(some: object) -> set[str]:
        asked.append(set(some))  # type: ignore[call-overload]
        return {names[0]}

    folders = RunFolders(runs, going_on)
    for name in (names[1], previews[1]):
        folders.take(job(runs / name))
    assert folders.commits() == {tmp_path / "commits" / "one"}
    for name in (*names, *previews):
        (runs / name / "target").mkdir(parents=True)
    folders.tidy()
    left = {one.name for one in runs.iterdir()}
    # The oldest is not over, and the second is worked in: both stay beyond the KEPT newest.
    assert set(names) - left == set(names[2:5]) and previews[1] in left
    assert previews[0] not in left and asked == [set(names)]

    def cannot_tell(some: object) -> set[str]:
        raise OSError

    (runs / "20261122-080000-000000").mkdir()
    with pytest.raises(OSError):
        RunFolders(runs, cannot_tell).tidy()
    assert (runs / "20261122-080000-000000").exists()
