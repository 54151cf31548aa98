"""What changed between two commits, asked of a real repository with hostile names and content."""

from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mage_dbt.base import redaction
from mage_dbt.commits.changes import (
    LONGEST_CHARACTERS,
    LONGEST_LINES,
    MOST_DIFFS,
    MOST_FILES,
    changed_files,
    last_commits,
)
from mage_dbt.commits.history import History
from mage_dbt.model.explanation import ChangedFile, FileRole
from tests.harness.repository import git

TEXT = "".join(f"select {number} as id union all\n" for number in range(30))

CALLS_OF_GIT = 8


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "current"
    (folder / "dbt").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "dbt" / "fct.sql").write_text(TEXT)
    commit(folder, "One", "2026-11-01T08:00:00+09:00")
    return folder


def commit(
    repository: Path, message: str, at: str = "", author: str = "Kim <k@example.com>"
) -> str:
    git(repository, "add", "--all")
    dated = [f"--date={at}"] if at else []
    words = ["--quiet", "--allow-empty", f"--author={author}", *dated, "--message", message]
    git(repository, "commit", *words)
    return git(repository, "rev-parse", "HEAD")


def head(repository: Path) -> str:
    return git(repository, "rev-parse", "HEAD")


def changed(repository: Path, old: str, new: str, **roles: str) -> tuple[ChangedFile, ...]:
    given = {name.replace("__", "."): FileRole(role) for name, role in roles.items()}
    found = changed_files(History(repository.parent, "main"), old, new, "dbt", given)
    assert found is not None
    return found


def test_each_changed_file_has_its_diff_and_the_last_commit_that_touched_it(
    repository: Path,
) -> None:
    old = head(repository)
    dbt = repository / "dbt"
    (dbt / "macro.sql").write_text("{% macro a() %}{% endmacro %}\n")
    added = commit(repository, "Add a macro", "2026-11-02T08:00:00+09:00", "Lee <l@example.com>")
    (dbt / "fct.sql").write_text(TEXT.replace("select 7 as", "select 70 as"))
    commit(repository, "Change seven", "2026-11-03T08:00:00+09:00")
    (dbt / "fct.sql").write_text(TEXT.replace("select 7 as", "select 71 as"))
    (repository / "README.md").write_text("not dbt's")
    last = commit(repository, "Change it again", "2026-11-04T08:00:00+09:00")
    new = commit(repository, "Nothing")

    model, macro = changed(repository, old, new, macro__sql="macro", fct__sql="model", no="yaml")
    assert (model.path, model.role, model.commit) == ("dbt/fct.sql", "model", last)
    assert (model.author, model.subject) == ("Kim", "Change it again")
    assert model.at == datetime.fromisoformat("2026-11-04T08:00:00+09:00")
    assert model.diff.startswith("@@ -5,7 +5,7 @@")
    assert "\n-select 7 as id union all\n+select 71 as id union all\n" in model.diff
    assert not model.cut and model.note == ""
    assert (macro.path, macro.author, macro.commit) == ("dbt/macro.sql", "Lee", added)
    assert macro.diff == "@@ -0,0 +1 @@\n+{% macro a() %}{% endmacro %}"
    assert changed(repository, new, new, fct__sql="model") == ()
    assert changed(repository, old, new, other__sql="model") == ()


def test_a_removed_file_and_one_that_was_renamed_and_rewritten_are_found(repository: Path) -> None:
    (repository / "dbt" / "gone.sql").write_text("select 'gone'")
    old = commit(repository, "Two")
    git(repository, "mv", "dbt/fct.sql", "dbt/facts.sql")
    commit(repository, "Rename")
    (repository / "dbt" / "facts.sql").write_text("select 'quite another' as text\n")
    (repository / "dbt" / "gone.sql").unlink()
    new = commit(repository, "Rewrite")
    model, gone = changed(repository, old, new, facts__sql="model", gone__sql="upstream")
    assert model.path == "dbt/facts.sql" and "+select 'quite another' as text" in model.diff
    assert model.diff.count("\n-select") == 30 and model.subject == "Rewrite"
    assert (gone.path, gone.diff) == (
        "dbt/gone.sql",
        "@@ -1 +0,0 @@\n-select 'gone'\n\\ No newline at end of file",
    )
    # By its former path too: the graph of the earlier commit has that.
    assert changed(repository, old, new, fct__sql="model")[0].path == "dbt/facts.sql"
    # Back to the commit before: none between has touched it.
    back = changed(repository, new, old, fct__sql="model")[0]
    assert (back.path, back.commit) == ("dbt/fct.sql", old)


def test_a_file_that_was_only_renamed_or_is_binary_says_so(repository: Path) -> None:
    (repository / "dbt" / "data.csv").write_bytes(b"\0\1")
    (repository / "dbt" / "large.csv").write_text("1\n" * 300_000)
    (repository / "dbt" / "run.sql").write_text("select 1")
    old = commit(repository, "Two")
    (repository / "dbt" / "data.csv").write_bytes(b"\0\2")
    (repository / "dbt" / "large.csv").write_text("2\n" * 300_000)
    (repository / "dbt" / "run.sql").chmod(0o755)
    (repository / "dbt" / "empty.sql").touch()
    git(repository, "mv", "dbt/fct.sql", "dbt/facts.sql")
    new = commit(repository, "Three")
    names = ("facts__sql", "data__csv", "large__csv", "run__sql", "empty__sql")
    found = changed(repository, old, new, **dict.fromkeys(names, "seed"))
    assert {file.path: (file.diff, file.note) for file in found} == {
        "dbt/facts.sql": ("", "renamed only"),
        "dbt/data.csv": ("", "binary"),
        "dbt/large.csv": ("", "binary"),
        "dbt/run.sql": ("", "mode only"),
        "dbt/empty.sql": ("", "empty"),
    }


def test_hostile_names_and_content_do_not_mix_the_diffs(repository: Path) -> None:
    dbt = repository / "dbt"
    names = ["a b.sql", 'q"uote.sql', "new\nline.sql", "*.sql", ":(top)x.sql", "b\udce9.sql", "@@ "]
    for name in names:
        (dbt / name).write_text("one\n")
    old = commit(repository, "Two")
    for number, name in enumerate(names):
        (dbt / name).write_bytes(
            b"two\rdiff --git a/x b/x\r@@ -1 +1 @@\ndiff --git a/y b/y\n\xff %d\n" % number
        )
    (dbt / "fct.sql").unlink()
    (dbt / "fct.sql").symlink_to("a b.sql")
    evil = "\x1b[31m<script>alert(1)</script> \x01"
    new = commit(repository, evil, author="E\x02vil <e@example.com>")
    stored = [name.replace("\udce9", "\N{REPLACEMENT CHARACTER}") for name in names]
    found = changed(repository, old, new, **dict.fromkeys([*stored, "fct.sql"], "model"))
    by_path = {file.path: file for file in found}
    assert by_path.keys() == {f"dbt/{name}" for name in [*stored, "fct.sql"]}
    for number, name in enumerate(stored):
        assert by_path[f"dbt/{name}"].diff == (
            "@@ -1 +1,3 @@\n-one\n+two\rdiff --git a/x b/x\r@@ -1 +1 @@\n+diff --git a/y b/y\n"
            f"+\N{REPLACEMENT CHARACTER} {number}"
        )
    link = by_path["dbt/fct.sql"].diff
    assert link.startswith("@@ -1,30 +0,0 @@\n-select 0") and "diff --git" not in link
    assert link.endswith("@@ -0,0 +1 @@\n+a b.sql\n\\ No newline at end of file")
    assert {file.subject for file in found} == {evil}


def test_what_the_repository_configures_is_not_run(repository: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch '{ran}'\n")
    script.chmod(0o755)
    (repository / "dbt" / ".gitattributes").write_text("*.sql diff=evil\n")
    old = commit(repository, "Two")
    for name in ("diff.external", "diff.evil.command", "diff.evil.textconv", "core.pager"):
        git(repository, "config", name, str(script))
    git(repository, "config", "color.ui", "always")
    git(repository, "config", "diff.noprefix", "true")
    git(repository, "config", "log.showSignature", "true")
    git(repository, "mv", "dbt/fct.sql", "dbt/facts.sql")
    commit(repository, "Rename")
    (repository / "dbt" / "facts.sql").write_text("select 'another' as text\n")
    new = commit(repository, "Three")
    found = changed(repository, old, new, facts__sql="model")
    assert "+select 'another' as text" in found[0].diff and "\x1b" not in found[0].diff
    assert not ran.exists()


def test_diffs_are_bounded_and_have_no_secret(repository: Path) -> None:
    redaction.hide("Zbf8-long-secret")
    old = head(repository)
    dbt = repository / "dbt"
    (dbt / "fct.sql").write_text("select 'Zbf8-long-secret'\n" + "select 1\n" * 1000)
    (dbt / "wide.sql").write_text("x" * 50_000)
    many = [f"m{number}.sql" for number in range(MOST_FILES + 5)]
    for name in many:
        (dbt / name).write_text("select 1\n")
    new = commit(repository, "Say Zbf8-long-secret")
    roles = {"fct.sql": "model", "wide.sql": "yaml"} | dict.fromkeys(many, "upstream")
    found = changed(repository, old, new, **roles)
    assert len(found) == MOST_FILES
    model, wide = found[:2]
    assert len(model.diff.split("\n")) == LONGEST_LINES and model.cut
    assert "+select '*****'" in model.diff and model.subject == "Say *****"
    assert len(wide.diff) == LONGEST_CHARACTERS and wide.cut
    assert sum(bool(file.diff) for file in found) == MOST_DIFFS
    assert {file.note for file in found if not file.diff} == {"too many files"}


def test_thousands_of_files_are_a_few_calls_of_git(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = head(repository)
    roles = {f"many/m{number}.sql": "upstream" for number in range(5000)}
    (repository / "dbt" / "many").mkdir()
    for name in roles:
        (repository / "dbt" / name).write_text(f"select '{name}'\n")
    new = commit(repository, "Many")
    calls: list[object] = []
    run = subprocess.run

    def counted(words: object, **more: Any) -> Any:
        calls.append(words)
        return run(words, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", counted)
    assert len(changed(repository, old, new, **roles)) == MOST_FILES
    assert len(calls) <= CALLS_OF_GIT


def test_a_conflict_solved_in_a_merge_is_the_merges_change(repository: Path) -> None:
    old = head(repository)
    fct = repository / "dbt" / "fct.sql"
    git(repository, "switch", "--quiet", "--create", "side")
    fct.write_text("select 'side'\n")
    commit(repository, "Side")
    git(repository, "switch", "--quiet", "main")
    fct.write_text("select 'main'\n")
    commit(repository, "Main")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "merge", "--quiet", "side")
    fct.write_text("select 'both'\n")
    merge = commit(repository, "Merge side")
    (found,) = changed(repository, old, merge, fct__sql="model")
    assert (found.commit, found.subject) == (merge, "Merge side")
    assert "+select 'both'" in found.diff
    lines = last_commits(History(repository.parent, "main"), merge, 3)
    assert lines is not None
    assert {(line.subject, line.files) for line in lines} == {
        ("Merge side", 1),
        ("Main", 1),
        ("Side", 1),
    }
    assert lines[0].sha == merge


def test_what_git_does_not_have_it_cannot_tell(repository: Path, tmp_path: Path) -> None:
    old = head(repository)
    (repository / "dbt" / "fct.sql").write_text("select 1")
    new = commit(repository, "Two")
    shallow = tmp_path / "shallow" / "current"
    shallow.parent.mkdir()
    clone = ["git", "clone", "--quiet", "--depth=1", repository.as_uri(), str(shallow)]
    subprocess.run(clone, check=True, capture_output=True)
    for folder, before in ((shallow, old), (repository, "0" * 40), (tmp_path / "no" / "x", old)):
        history = History(folder.parent, "main")
        assert changed_files(history, before, new, "dbt", {"fct.sql": FileRole.MODEL}) is None
        assert last_commits(history, before, 5) is None


def test_the_last_commits_are_the_newest_first_with_how_many_files_each_changed(
    repository: Path,
) -> None:
    for name in ("a", "b"):
        (repository / "dbt" / f"{name}.sql").write_text(name)
    commit(repository, "Two files\n\nfor a reason", "2026-11-02T08:00:00+09:00")
    new = commit(repository, "Nothing", "2026-11-03T08:00:00+09:00")
    history = History(repository.parent, "main")
    found = last_commits(history, new, 2)
    assert found is not None
    assert [(line.subject, line.files, line.author) for line in found] == [
        ("Nothing", 0, "Kim"),
        ("Two files", 2, "Kim"),
    ]
    assert found[1].at == datetime.fromisoformat("2026-11-02T08:00:00+09:00")
    assert last_commits(history, new, 1) == found[:1]
