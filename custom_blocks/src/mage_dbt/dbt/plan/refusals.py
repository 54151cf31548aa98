"""Why a job cannot be planned: which part of its selection is wrong, and what may be meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from dbt.contracts.graph.manifest import Manifest
from dbt.exceptions import InvalidSelectorError
from dbt.graph.selector_methods import MethodName

from mage_dbt.base.lists import short_list
from mage_dbt.base.redaction import scrub
from mage_dbt.dbt.nodes import Unplanned, name_of, node_in
from mage_dbt.dbt.plan.chosen import Chosen
from mage_dbt.dbt.plan.reasons import without_operators
from mage_dbt.errors import did_you_mean
from mage_dbt.workers.job import Job

THINGS = {
    "tag": 'Nothing {where} has the tag "{value}".',
    "source": 'No source "{value}" {where}.',
    "package": 'No package "{value}" {where}.',
    "group": 'No group "{value}" {where}.',
    "exposure": 'No exposure "{value}" {where}.',
    "path": 'No file or folder "{value}" {where} with models, seeds, snapshots or tests.',
    "file": 'No file "{value}" {where}.',
}


def refusal(kind: str, message: str, hint: str = "") -> dict[str, Any]:
    """The answer to the runner; `kind` chooses the error (`REFUSALS` in `workers/worker.py`)."""
    return {"refused": kind, "message": message, "hint": hint}


def of_named_nodes(job: Job, manifest: Manifest, chosen: Chosen | None) -> dict[str, Any] | None:
    """Why the nodes that the job names by id or name cannot be taken; None when they can."""
    commit = job.commit[:7]
    if job.nodes and all(isinstance(node_in(manifest, node), Unplanned) for node in job.nodes):
        return refusal(
            "selection",
            f"None of the nodes to run again is enabled at {commit} with these variables.",
            "Run what replaces them.",
        )
    if job.nodes or chosen is None:
        return None
    for name, nodes in chosen.meant.items():
        if len(nodes) > 1:
            return refusal(
                "selection",
                f'Several nodes are called "{name}" in dbt-metric at {commit}.',
                f"Name one: {', '.join(nodes)}.",
            )
    unknown = [name for name, nodes in chosen.meant.items() if not nodes]
    return of_selection(job, manifest, unknown, "") if unknown else None


def of_selection(
    job: Job, manifest: Manifest, unmatched: Collection[str], selector: str
) -> dict[str, Any]:
    """Why a selection matches nothing. `unmatched` are the criteria that match nothing, if any.

    `selector` is the project's selector that chose the nodes, in words, or empty.
    """
    where = f"in dbt-metric at {job.commit[:7]}"
    for criterion in unmatched:
        name = without_operators(criterion)
        if any(name == node.name for nodes in manifest.disabled.values() for node in nodes):
            return refusal(
                "selection",
                f'"{name}" is disabled {where}.',
                "Its configuration says `enabled: false`; leave it out, or enable it.",
            )
    if not unmatched:
        asked = selector or " ".join((*job.select, *job.models)) or "everything"
        return refusal("selection", f"The selection matches nothing to {job.command}: {asked}.", "")
    return refusal("selection", *_without_match(unmatched, manifest, where))


def of_exclusion(job: Job, manifest: Manifest, unmatched: Collection[str]) -> Iterator[str]:
    """Warnings of what is left out by name and is not there: a slip of the pen runs all of it."""
    where = f"in dbt-metric at {job.commit[:7]}"
    for criterion in unmatched:
        if criterion in job.exclude:
            sentence, hint = _without_match([criterion], manifest, where)
            near = f" {hint}" if hint.startswith("Did you mean") else ""
            yield f"`--exclude {criterion}` leaves nothing out. {sentence}{near}"


def of_error(error: BaseException | None) -> dict[str, Any]:
    """Why dbt does not take a selection, and what may be meant."""
    message = scrub(str(error).strip()) if error else "dbt gave no reason."
    if isinstance(error, InvalidSelectorError) and "'" in message:
        method = message.split("'")[1]
        known = [str(name) for name in MethodName]
        hint = did_you_mean(method, known) or f"There are {', '.join(known)}."
        sentence = f'"{method}:" is no way to select: dbt has no such method.'
        return refusal("selection", sentence, hint)
    return refusal("selection", message)


def _without_match(criteria: Iterable[str], manifest: Manifest, where: str) -> tuple[str, str]:
    """What is wrong with criteria that match nothing `where`, and what may be meant."""
    sentences: list[str] = []
    hints: list[str] = []
    names: list[str] = []
    for criterion in criteria:
        bare = without_operators(criterion)
        method, colon, value = bare.partition(":")
        if "," in bare:
            parts = bare.replace(",", ", ")
            sentences.append(f"Nothing {where} is in all of: {parts}.")
        elif colon:
            other = f'Nothing {{where}} matches "{bare}".'
            sentences.append(THINGS.get(method, other).format(where=where, value=value))
            hints.append(_instead(method, value, manifest))
        else:
            names.append(criterion)
            hints.append(did_you_mean(criterion.strip("+@*"), _models(manifest)))
    if names:
        quoted = ", ".join(f'"{name}"' for name in names)
        sentences.insert(0, f"No model {quoted} {where}.")
    hint = " ".join(dict.fromkeys(filter(None, hints)))
    return " ".join(sentences), hint or ("The list of models shows every name." if names else "")


def _instead(method: str, value: str, manifest: Manifest) -> str:
    known = sorted(_known(method, manifest))
    if near := did_you_mean(value, known):
        return near
    return f"There is {short_list(known)}." if known and method in THINGS else ""


def _known(method: str, manifest: Manifest) -> set[str]:
    """What a method can name; empty where that is more than a word."""
    both = (*manifest.nodes.values(), *manifest.sources.values())
    nodes: list[Any] = [node for node in both if str(node.resource_type) != "operation"]
    if method == "tag":
        return {tag for node in nodes for tag in node.tags}
    if method == "source":
        sources = manifest.sources.values()
        full = {f"{source.source_name}.{source.name}" for source in sources}
        return full | {source.source_name for source in sources}
    if method == "package":
        return {node.package_name for node in nodes}
    if method == "group":
        return {group.name for group in manifest.groups.values()}
    if method == "exposure":
        return {exposure.name for exposure in manifest.exposures.values()}
    if method in ("path", "file"):
        paths = [node.original_file_path for node in nodes]
        return (
            {path.rsplit("/", 1)[-1] for path in paths}
            if method == "file"
            else _with_folders(paths)
        )
    return set()


def _with_folders(paths: Iterable[str]) -> set[str]:
    """The files, and the folders in which they lie."""
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
