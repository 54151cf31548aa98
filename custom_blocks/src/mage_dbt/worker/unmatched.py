"""What is said of a selection that matches nothing, or that dbt refuses: which part of it, and what
there is in its place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dbt.contracts.graph.manifest import Manifest
from dbt.exceptions import InvalidSelectorError
from dbt.graph.selector_methods import MethodName

from mage_dbt.errors import did_you_mean
from mage_dbt.lists import short_list
from mage_dbt.redaction import scrub
from mage_dbt.worker.nodes import name_of
from mage_dbt.worker.reasons import without_operators

THINGS = {
    "tag": 'Nothing {where} has the tag "{value}".',
    "source": 'No source "{value}" {where}.',
    "package": 'No package "{value}" {where}.',
    "group": 'No group "{value}" {where}.',
    "exposure": 'No exposure "{value}" {where}.',
    "path": 'No file or folder "{value}" {where} with models, seeds, snapshots or tests.',
    "file": 'No file "{value}" {where}.',
}


def told(criteria: Iterable[str], manifest: Manifest, where: str) -> tuple[str, str]:
    """Of criteria that match nothing `where` (`in dbt-metric at 3f2c1ab`): what is wrong, and what
    may have been meant."""
    sentences: list[str] = []
    hints: list[str] = []
    names: list[str] = []
    for one in criteria:
        bare = without_operators(one)
        method, colon, value = bare.partition(":")
        if "," in bare:
            parts = bare.replace(",", ", ")
            sentences.append(f"Nothing {where} is in all of: {parts}.")
        elif colon:
            other = f'Nothing {{where}} matches "{bare}".'
            sentences.append(THINGS.get(method, other).format(where=where, value=value))
            hints.append(_instead(method, value, manifest))
        else:
            names.append(one)
            hints.append(did_you_mean(one.strip("+@*"), _models(manifest)))
    if names:
        quoted = ", ".join(f'"{one}"' for one in names)
        sentences.insert(0, f"No model {quoted} {where}.")
    hint = " ".join(dict.fromkeys(filter(None, hints)))
    return " ".join(sentences), hint or ("The list of models shows every name." if names else "")


def refused(error: BaseException | None) -> tuple[str, str]:
    """Of a selection that dbt does not take: why, and what may have been meant."""
    said = scrub(str(error).strip()) if error else "dbt gave no reason."
    if isinstance(error, InvalidSelectorError) and "'" in said:
        method = said.split("'")[1]
        known = [str(one) for one in MethodName]
        hint = did_you_mean(method, known) or f"There are {', '.join(known)}."
        return f'"{method}:" is no way to select: dbt has no such method.', hint
    return said, ""


def _instead(method: str, value: str, manifest: Manifest) -> str:
    known = sorted(_known(method, manifest))
    if near := did_you_mean(value, known):
        return near
    return f"There is {short_list(known)}." if known and method in THINGS else ""


def _known(method: str, manifest: Manifest) -> set[str]:
    """What a method can name; empty where that is not one word."""
    both = (*manifest.nodes.values(), *manifest.sources.values())
    nodes: list[Any] = [one for one in both if str(one.resource_type) != "operation"]
    if method == "tag":
        return {tag for node in nodes for tag in node.tags}
    if method == "source":
        return {f"{one.source_name}.{one.name}" for one in manifest.sources.values()} | {
            one.source_name for one in manifest.sources.values()
        }
    if method == "package":
        return {node.package_name for node in nodes}
    if method == "group":
        return {one.name for one in manifest.groups.values()}
    if method == "exposure":
        return {one.name for one in manifest.exposures.values()}
    if method in ("path", "file"):
        paths = [node.original_file_path for node in nodes]
        return {one.rsplit("/", 1)[-1] for one in paths} if method == "file" else _places(paths)
    return set()


def _places(paths: Iterable[str]) -> set[str]:
    """The files, and the folders they lie in."""
    found: set[str] = set()
    for path in paths:
        while path and path not in found:
            found.add(path)
            path = path.rpartition("/")[0]
    return found


def _models(manifest: Manifest) -> list[str]:
    return [
        name_of(node)
        for node in manifest.nodes.values()
        if str(node.resource_type) in ("model", "seed", "snapshot")
    ]
