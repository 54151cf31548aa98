"""Keeps dbt in the tree of its commit: what a project or a package of it names must lie there.

The runner has looked at the links of a commit before dbt reads it (`commits/links.py`). Where a
path leads, and what a package brings, is known only once dbt has rendered or fetched it. So dbt's
own functions ask here. Folders of dbt itself and of its adapters are not asked about, nor is a
project that is no commit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dbt.clients.git
import dbt.deps.base
from dbt.config.project import PartialProject
from dbt.deps.git import GitPinnedPackage
from dbt.deps.local import LocalPinnedPackage
from dbt.exceptions import DbtProjectError

from mage_dbt.base.git import ALLOWED_PROTOCOLS, HERE, protocol
from mage_dbt.commits import links
from mage_dbt.commits.folders import tree_of

PATHS = re.compile(r".*[-_]paths?")
"""Keys of dbt_project.yml, and attributes of what dbt makes of it: folders that dbt reads or
writes, those too that another version of dbt brings."""

GIVEN_ON_THE_COMMAND_LINE = frozenset(("target_path", "log_path"))
"""Each command of ours gives them, and that counts."""

HINT = "Name a folder of the repository, or bring a package by git, from a server."

_tree: list[Path] = []


class LeadsOut(DbtProjectError):  # type: ignore[misc]
    """The commit, or one of its packages, leads out of its tree."""


def hold(arguments: Sequence[str]) -> None:
    """From now on dbt stays in the commit of the project that its `arguments` name."""
    tree = tree_of(Path(arguments[arguments.index("--project-dir") + 1]))
    _tree[:] = [tree] if tree else []


def protect() -> None:
    """Has dbt ask here; `hold` says for which commit.

    Raises AttributeError where this dbt has no such function: it could not be held.
    """
    for owner, name in ((dbt.deps.base, "get_downloads_path"), (dbt.clients.git, "run_cmd")):
        getattr(owner, name)  # asked for later, when an error of this kind would be one of dbt's
    _guard(GitPinnedPackage, "_checkout", first=_refuse_protocol, then=_refuse_checkout)
    _guard(LocalPinnedPackage, "resolve_path", then=_refuse_local)
    read, create = PartialProject.from_project_root, PartialProject.create_project

    def from_project_root(project_root: str, **options: Any) -> Any:
        _refuse_download(project_root)
        return read(project_root, **options)

    def create_project(partial: Any, rendered: Any) -> Any:
        project = create(partial, rendered)
        if _tree:
            _refuse_paths(project, rendered)
        return project

    PartialProject.from_project_root = staticmethod(from_project_root)
    PartialProject.create_project = create_project


def outside(error: BaseException | None) -> LeadsOut | None:
    """The refusal that an error of dbt's is due to."""
    while error is not None and not isinstance(error, LeadsOut):
        error = error.__cause__ or error.__context__
    return error


def links_brought() -> str:
    """A sentence on links that lead out of the tree once packages are installed, or empty."""
    return links.sentence(link for tree in _tree for link in links.leading_out(tree))


def _guard(
    owner: type[Any],
    name: str,
    first: Callable[[Any], None] = lambda _: None,
    then: Callable[[Any, Any], None] = lambda *_: None,
) -> None:
    """Calls `first` with the object before a method of it does anything, and `then` with the object
    and the method's answer before anybody gets this."""
    original = getattr(owner, name)

    def guarded(self: Any, *arguments: Any, **options: Any) -> Any:
        if not _tree:
            return original(self, *arguments, **options)
        first(self)
        answer = original(self, *arguments, **options)
        then(self, answer)
        return answer

    setattr(owner, name, guarded)


def _refuse_protocol(package: Any) -> None:
    """git refuses it too, for what an address leads to; but it does not name the package."""
    allowed = os.environ.get(ALLOWED_PROTOCOLS, "").split(":")
    used = protocol(package.git)
    if any(allowed) and used not in allowed:
        remote = " or ".join(name for name in allowed if name != HERE)
        what = "is a repository on the runner's own machine" if used == HERE else f"uses {used}"
        raise LeadsOut(
            f"The package {package.git_unrendered} {what}: git may fetch packages by {remote} only."
        )


def _refuse_local(package: Any, folder: str) -> None:
    if not links.is_inside(folder, _tree[0]):
        raise LeadsOut(f"The local package {package.local} lies outside of the repository.")


def _refuse_checkout(package: Any, folder: str) -> None:
    clone = Path(dbt.deps.base.get_downloads_path() or "", package._checkout_name)
    if not links.is_inside(folder, clone):
        raise LeadsOut(
            f"The subdirectory {package.subdirectory} of the package {package.git_unrendered} "
            "leads out of that."
        )
    _refuse_links(package.git_unrendered, Path(folder), clone)


def _refuse_download(project_root: str) -> None:
    """Before dbt reads what a fetched package declares, from where it was unpacked."""
    downloads = dbt.deps.base.get_downloads_path()
    if _tree and downloads and links.is_inside(project_root, downloads):
        name = Path(project_root).resolve().relative_to(Path(downloads).resolve()).parts[0]
        _refuse_links(name.removesuffix("_untarred"), Path(project_root), Path(downloads, name))


def _refuse_links(package: str, folder: Path, tree: Path) -> None:
    if found := links.sentence(links.leading_out(folder, tree)):
        raise LeadsOut(f"In the package {package}, {found}")


def _refuse_paths(project: Any, rendered: Any) -> None:
    root = Path(project.project_root)
    if not links.is_inside(root, _tree[0]):
        return  # dbt's own, or an adapter's
    for key, path in (*_named(vars(project)), *_named(rendered.project_dict)):
        # dbt joins some paths with its root as they are, and makes others shorter first.
        whole = root / path
        # dbt's documentation copies these; first it removes what has such a path elsewhere.
        border = root if key == "asset_paths" else _tree[0]
        if not (
            links.is_inside(whole, border) and links.is_inside(os.path.normpath(whole), border)
        ):
            raise LeadsOut(
                f"{key.replace('_', '-')} of {project.project_name}: {path} leads out of the "
                f"{'project' if key == 'asset_paths' else 'repository'}."
            )


def _named(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each path, with its key as an attribute is spelled."""
    for name, value in settings.items():
        key = name.replace("-", "_")
        if PATHS.fullmatch(name) and key not in GIVEN_ON_THE_COMMAND_LINE:
            paths = value if isinstance(value, list | tuple) else [value]
            yield from ((key, path) for path in paths if isinstance(path, str))
