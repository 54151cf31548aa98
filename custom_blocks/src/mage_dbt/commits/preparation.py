"""Makes a commit ready: export from git, packages, dbt's parse, and `ready.json` last.

What dbt makes of a commit depends on variables, target and environment too. When they have changed,
dbt describes the ready commit again; its export and its packages stay.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mage_dbt.base import yaml_file
from mage_dbt.base.lists import short_list
from mage_dbt.base.yaml_file import REPAIR
from mage_dbt.commits import broken, export, links
from mage_dbt.commits.broken import AGAIN, PROJECT_FILE
from mage_dbt.commits.folders import (
    TREE,
    Folders,
    close_to_writing,
    remove,
    write_graph,
    write_ready,
)
from mage_dbt.commits.graph_key import GraphKey, dbt_environment
from mage_dbt.commits.history import History
from mage_dbt.commits.parser import Parser, ParserGone, Parsing
from mage_dbt.commits.profile import Profile
from mage_dbt.commits.variables import variables_read
from mage_dbt.errors import (
    CommitBroken,
    ContentMissing,
    DbtUnfit,
    PackagesMissing,
    PreparationFailed,
    RequestError,
    SettingError,
    Unavailable,
    WorkspaceError,
)
from mage_dbt.home import Home
from mage_dbt.model.commit import Commit, facts
from mage_dbt.settings import Settings

PREPARE_SECONDS = 1800.0
"""Time limit of dbt's first parse, packages included."""

LOOK_BACK = 500
"""How many commits back the predecessor is looked for, whose warnings are compared."""

DECLARED_IN = (PROJECT_FILE, "packages.yml", "dependencies.yml")
"""Files that dbt reads first. Its message on one that is no YAML does not name the file."""


class Preparation:
    """Makes commits of one workspace ready, each in its own folder."""

    def __init__(
        self, settings: Settings, home: Home, parser: Parser, history: History, folders: Folders
    ) -> None:
        self._sync = settings.dbt_metric_dir or home.sync
        self._subdir = settings.dbt_metric_subdir
        self._packages = home.packages
        self._parser = parser
        self._history = history
        self._folders = folders

    def ready(
        self, sha: str, profile: Profile, live: Commit | None, is_published: bool = False
    ) -> Commit:
        """The commit, made ready now unless it is.

        `live` is the commit that was ready last. Its warnings are compared when this one
        `is_published`, or comes after it in the history. Raises CommitBroken.
        """
        folder = self._folders.of(sha, profile)
        with self._folders.alone_in(folder):
            try:
                commit = Commit.read(folder)
            except FileNotFoundError:
                remove(folder)
                return self._make(sha, folder, profile, live, is_published)
            if self.holds(commit, profile):
                return commit
            key = GraphKey.of_commit(commit.project, profile, dbt_environment(os.environ))
            try:
                answer = self._parser.describe(commit, key, {}, whole=True)
            except RequestError as error:
                raise CommitBroken(f"dbt cannot parse {sha[:7]}: {error}", REPAIR) from error
            except DbtUnfit as error:
                raise broken.unfit(sha, error.message, error.hint) from error
            except WorkspaceError as error:
                raise broken.not_prepared(sha, error.message) from error
            commit = commit.with_graph(key.digest, answer)
            write_graph(folder, answer["graph_json"])
            write_ready(commit)
            return commit

    def described(self, commit: Commit, key: GraphKey, variables: Mapping[str, Any]) -> Commit:
        """A ready commit as dbt sees it with another graph.

        Raises RequestError with dbt's message, WorkspaceError when no process got to its end.
        """
        return commit.with_graph(key.digest, self._parser.describe(commit, key, variables))

    def holds(self, commit: Commit, profile: Profile) -> bool:
        """Whether dbt would say the same of the commit now.

        True too while a secret cannot be read: dbt cannot be asked then.
        """
        return self._graph(commit.project, profile) in ("", commit.graph)

    def graph(self, sha: str, profile: Profile) -> str:
        """`GraphKey.digest` of a run of this commit without variables, as of now.

        Empty while a secret cannot be read.
        """
        return self._graph(self._project(self._folders.of(sha, profile)), profile)

    def submodules_are_here(self, sha: str, paths: Sequence[str]) -> bool:
        """Whether git-sync has by now fetched one of these submodules of the commit."""
        git = export.git_in(self._sync / "current")
        listed = git.run("ls-tree", "-r", "-z", "--full-tree", sha)
        pinned = dict(export.submodules(listed.stdout))
        return any(
            path in pinned and export.has(git, worktree / path, pinned[path])
            for path in paths
            for worktree in self._worktrees(sha)
        )

    def _project(self, folder: Path) -> Path:
        return folder / TREE / self._subdir

    def _graph(self, project: Path, profile: Profile) -> str:
        try:
            return GraphKey.of_commit(project, profile, dbt_environment(os.environ)).digest
        except SettingError:
            return ""

    def _make(
        self, sha: str, folder: Path, profile: Profile, live: Commit | None, is_published: bool
    ) -> Commit:
        begun = time.monotonic()
        folder.mkdir(parents=True)
        tree = folder / TREE
        lacking = self._export(sha, tree)
        # First of all: whoever reads a file of the tree follows its links.
        if outside := links.sentence(links.leading_out(tree)):
            raise broken.leads_out(sha, outside)
        project = self._project(folder)
        if not (project / PROJECT_FILE).is_file():
            raise broken.no_project(sha, tree, self._subdir)
        try:
            return self._parsed(sha, folder, profile, lacking, live, is_published, begun)
        except CommitBroken as error:
            raise self._with_lacking(sha, project, lacking, error) from None

    def _parsed(
        self,
        sha: str,
        folder: Path,
        profile: Profile,
        lacking: Sequence[str],
        live: Commit | None,
        is_published: bool,
        begun: float,
    ) -> Commit:
        """The commit once dbt has parsed it, in a process that runs can be forked from.

        `begun` is when its preparation began, on the monotonic clock.
        """
        project, tree = self._project(folder), folder / TREE
        for name in DECLARED_IN:
            yaml_file.read(project / name)
        environment = dbt_environment(os.environ)
        key = GraphKey.of_commit(project, profile, environment)
        self._packages.mkdir(parents=True, exist_ok=True)
        with self._parser.parse(key, folder, environment, self._packages) as parsing:
            answer = _answer(parsing, sha)
            self._refuse_incomplete(sha, project, lacking, answer)
            subject, author, committed_at = self._history.describe(sha)
            close_to_writing(tree)
            commit = Commit(
                sha=sha,
                subject=subject,
                author=author,
                committed_at=committed_at,
                folder=folder,
                project=project,
                variables=variables_read(tree.rglob("*"), profile),
                clock=tuple(answer["clock"]),
                notes=(
                    *answer["notes"],
                    *_clock_notes(answer["clock"]),
                    *(f"{path} is a git submodule; it was not brought." for path in lacking),
                ),
                graph=key.digest,
                **facts(answer["graph"]),
            )
            commit = self._with_new_warnings(commit, profile, live, is_published)
            write_graph(folder, answer["graph_json"])
            commit = replace(commit, seconds=round(time.monotonic() - begun, 1))
            write_ready(commit)
            parsing.keep()
        return commit

    def _with_new_warnings(
        self, commit: Commit, profile: Profile, live: Commit | None, is_published: bool
    ) -> Commit:
        """The commit, with which of dbt's warnings its predecessor did not have."""
        warnings = commit.parse_warnings
        if not warnings.total:
            return commit
        follows_live = live and (is_published or self._history.contains(commit.sha, live.sha))
        before = live if follows_live else self._predecessor(commit.sha, profile)
        if before is None:
            return commit
        if before.sha == commit.sha:  # parsed in another way, by another version of dbt say
            found = warnings.instead_of(before.parse_warnings)
        else:
            found = warnings.after(before.parse_warnings, before.sha)
        return replace(commit, parse_warnings=found)

    def _predecessor(self, sha: str, profile: Profile) -> Commit | None:
        """The nearest ancestor that is ready; None when there is none within LOOK_BACK."""
        for ancestor in self._history.before(sha, LOOK_BACK):
            try:
                return Commit.read(self._folders.of(ancestor, profile))
            except FileNotFoundError:
                continue
        return None

    def _export(self, sha: str, tree: Path) -> list[str]:
        """Writes the commit's files with git's own checkout; git-sync's folder stays as it is.

        Returns the paths of submodules that git-sync has not fetched. Raises PreparationFailed.
        """
        tree.mkdir()
        index = tree.parent / "index"
        git = export.git_in(self._sync / "current")
        try:
            wrong, listed = export.export(git, sha, tree, index)
            if not wrong:
                return list(export.bring_submodules(git, self._worktrees(sha), listed, tree, index))
        except Unavailable as error:
            raise PreparationFailed(error.message, AGAIN) from None
        raise PreparationFailed(
            f"git could not export {sha[:7]}: {wrong}",
            f"Is the disk full? Is the repository whole (`git fsck`)? {AGAIN}",
        )

    def _worktrees(self, sha: str) -> list[Path]:
        """Where git-sync may have fetched the submodules: its own repository does not hold them."""
        return [self._sync / ".worktrees" / sha, self._sync / "current"]

    def _refuse_incomplete(
        self, sha: str, project: Path, lacking: Sequence[str], answer: Mapping[str, Any]
    ) -> None:
        """Raises ContentMissing when dbt reads a folder or file whose content is missing."""
        read = [path for path in lacking if export.touches(path, self._subdir, answer["paths"])]
        found = [*_submodules(read), *_pointers(project, answer["pointers"])]
        if found:
            raise broken.content_missing(sha, found, read)

    def _with_lacking(
        self, sha: str, project: Path, lacking: Sequence[str], error: CommitBroken
    ) -> CommitBroken:
        """dbt's error, and the missing content of the commit, which may be its cause."""
        if isinstance(error, PreparationFailed | ContentMissing):
            return error
        held = _pointers(project, export.pointers(export.files_for_dbt(project)))
        found = [*_submodules(lacking), *held]
        if not found:
            return error
        packages = isinstance(error, PackagesMissing)
        if lacking and (not packages or any(path in error.message for path in lacking)):
            return broken.content_missing(sha, found, lacking, f" dbt says: {error.message}")
        error.message = f"{error.message} Besides, {short_list(found)}."
        return error


def _answer(parsing: Parsing, sha: str) -> dict[str, Any]:
    """What dbt makes of a new commit. Raises CommitBroken."""
    try:
        answer = parsing.answer(PREPARE_SECONDS)
    except ParserGone as error:
        reason = f"dbt's process did not get to its end: {error}"
        raise broken.not_prepared(sha, reason) from error
    except TimeoutError:
        reason = f"dbt was not done after {PREPARE_SECONDS:.0f} s"
        raise broken.not_prepared(sha, reason) from None
    if answer["failed"]:
        raise broken.refused_by_dbt(sha, answer)
    return answer


def _submodules(paths: Sequence[str]) -> list[str]:
    return [f"{path} is a git submodule" for path in paths]


def _pointers(project: Path, found: Mapping[str, str]) -> list[str]:
    return [f"{os.path.relpath(file, project)} is {what}" for file, what in found.items()]


def _clock_notes(clock: Sequence[str]) -> Iterator[str]:
    if clock:
        yield (
            f"Configuration reads the clock ({short_list(clock)}): dbt parses all of dbt-metric "
            "again for each run."
        )
