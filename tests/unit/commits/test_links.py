"""Links that lead out of their tree are found, whatever they name; all others are allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mage_dbt.commits.folders import tree_of
from mage_dbt.commits.links import Link, leading_out, sentence


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with a model in a folder, beside a secret."""
    tree = tmp_path / "commit" / "tree"
    (tree / "models").mkdir(parents=True)
    (tree / "models" / "a.sql").write_text("select 1 as id")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text("hush")
    return tree


@pytest.mark.parametrize(
    "aim",
    [
        "../../../secrets/token",
        "../../../secrets",
        "../../../secrets/not-yet",
        "../../other/tree/models/a.sql",
        "../..",
        "/etc/shadow",
        "/proc/self/environ",
        "missing/../../../../secrets/token",
        "../models/../../../secrets/token",
    ],
)
def test_a_link_that_leads_out_is_found_also_when_nothing_is_there(tree: Path, aim: str) -> None:
    (tree / "models" / "lk.sql").symlink_to(aim)
    assert list(leading_out(tree)) == [Link("models/lk.sql", aim)]


def test_an_absolute_link_leads_out_of_every_other_commit(tree: Path) -> None:
    (tree / "lk.sql").symlink_to(tree / "models" / "a.sql")
    assert [link.path for link in leading_out(tree)] == ["lk.sql"]


@pytest.mark.parametrize("aim", ["a.sql", "../models", "..", "gone.sql", "lk.sql", "../gone/x"])
def test_a_link_that_stays_is_allowed_also_a_dangling_one_and_a_loop(tree: Path, aim: str) -> None:
    (tree / "models" / "lk.sql").symlink_to(aim)
    assert not list(leading_out(tree))


def test_each_link_of_a_chain_that_leads_out_is_found(tree: Path) -> None:
    (tree / "deep" / "down").mkdir(parents=True)
    (tree / "deep" / "down" / "out").symlink_to("../../../../secrets")
    (tree / "seeds").symlink_to("deep/down")
    (tree / "models" / "lk.sql").symlink_to("../seeds/out/token")
    assert {link.path for link in leading_out(tree)} == {"deep/down/out", "models/lk.sql"}


def test_a_link_of_a_folder_may_lead_elsewhere_in_the_tree(tree: Path) -> None:
    (tree / "package").mkdir()
    (tree / "package" / "models").symlink_to("../models")
    assert not list(leading_out(tree / "package", tree))
    assert [link.path for link in leading_out(tree / "package")] == ["models"]


def test_what_is_wrong_is_one_line_that_names_the_files(tree: Path) -> None:
    assert sentence([]) == ""
    (tree / "a\nb").symlink_to("/x\ty")
    found = sentence(leading_out(tree))
    assert found == "a link leads out of the repository: a\\nb -> /x\\ty."


def test_the_tree_of_a_commit_is_the_outermost_of_such_a_name(tmp_path: Path) -> None:
    commit = tmp_path / f"{'ab' * 6}-{'cd' * 4}"
    inner = commit / "tree" / "dbt" / f"{'12' * 6}-{'34' * 4}" / "tree"
    assert tree_of(inner) == commit.resolve() / "tree"
    assert tree_of(commit) is None
    assert tree_of(tmp_path / "tree") is None
