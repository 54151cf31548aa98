"""What came of one step: what dbt said of each node, the SQL it wrote, and what stands afterwards.

Two ways of running dbt are compared by their outcomes. Told apart from a difference are, each by
one rule here or in `warehouse_state`:

- where the run's folder is, which stands in messages: the name of the folder is left out;
- the number in the name of a temporary table, and the name of an index, which dbt-postgres takes
  from the clock;
- the values of a row that a constraint refused, which we put stars for;
- the run's own id and the time it began, where a project writes them into its SQL;
- the order of what is skipped, which dbt keeps in a set when it fails fast;
- how far a node had come that dbt calls skipped because another failed and it fails fast: its
  thread may have begun before it learned of the failure, or not;
- the order of one model's unit tests, and the files of their given inputs: dbt keeps those tests in
  a set, and writes inputs of one name over each other.

How long anything took, and the name of the thread, are not read. Of dbt's arguments in its results
those are left out that say where things are and how dbt prints (`OF_ITS_OWN`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields
from difflib import unified_diff
from pathlib import Path
from typing import Any

from tests.differential import dbt_log, manifest
from tests.differential.warehouse_state import WarehouseState

TEMPORARY = re.compile(r"(__dbt_tmp|__dbt_backup)_?\d+")

FAILED_FAST = "Skipping due to fail_fast"
"""dbt's message of a node that did not end because another failed."""

INDEX = re.compile(r'(\bindex (?:if (?:not )?exists)?\s*(?:"\w+"\.)?)"[0-9a-f]{32}"')

COMPARED = (
    *("status", "message", "failures", "relation_name"),
    *("compiled", "compiled_code", "adapter_response", "batch_results"),
)
"""Of each node in run_results.json."""

COMPILED = ("compiled", "compiled_code")
"""Of those, what tells how far it came."""

OF_THE_RUN = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00"
)
"""`invocation_id` and `run_started_at`."""

REFUSED_ROW = re.compile(r"(Failing row contains )\([^()]*\)")

OF_ITS_OWN = frozenset(
    {
        *("project_dir", "profiles_dir", "target_path", "log_path", "invocation_command"),
        *("quiet", "send_anonymous_usage_stats", "cache_selected_only"),
    }
)
"""Arguments in run_results.json that each way of running dbt gives its own value."""

LONGEST = 40
"""Lines of a difference that are shown."""

Facts = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    refused: str = ""
    """Why dbt did not begin: it could not parse, or knows no such flag."""
    matched: bool = True
    """Whether the selection matched something: dbt then does nothing and is content, ours refuses
    (promise 2); so of such an step only this is compared, and what stands."""
    success: bool = False
    nodes: Facts = field(default_factory=dict)
    """By unique id, what run_results.json says."""
    order: tuple[str, ...] = ()
    """Unique ids as they ended, where one ran at a time."""
    sql: Facts = field(default_factory=dict)
    """By path, what dbt compiled and what it ran."""
    arguments: Facts = field(default_factory=dict)
    """What dbt was told to do, by its results, but for `OF_ITS_OWN`."""
    commanded: str = ""
    """The command line that the results give."""
    log: tuple[str, ...] = ()
    """What dbt said in its log from its first node on, sorted."""
    manifest: Facts = field(default_factory=dict)
    """What manifest.json holds beside the results, of the project's own."""
    state: WarehouseState = field(default_factory=dict)

    def unfinished(self) -> list[str]:
        """Nodes that failed or were skipped."""
        done = ("success", "pass", "warn")
        return [one for one, facts in self.nodes.items() if facts["status"] not in done]

    def differences(self, other: Outcome) -> list[str]:
        """What is not the same in `other`, a few lines each; empty when all is."""
        found = []
        nothing = not self.matched and not other.matched and not self.nodes
        for one in fields(self):
            if nothing and one.name not in ("matched", "state"):
                continue
            if one.name == "commanded":
                continue  # each has its own folders in it; see `contenders`
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if one.name == "refused":
                found += _refusals(mine, theirs)
            elif isinstance(mine, dict):
                for name in sorted(mine.keys() | theirs.keys()):
                    if mine.get(name) != theirs.get(name):
                        found.append(_told(f"{one.name}: {name}", mine.get(name), theirs.get(name)))
            elif mine != theirs:
                found.append(_told(one.name, mine, theirs))
        return found


def plain(text: str, target: Path) -> str:
    """Without what is of one run only: its folder, its id, its time, its temporary tables."""
    text = INDEX.sub(r"\1#", text.replace(f"{target}/", "target/"))
    text = REFUSED_ROW.sub(r"\1(*****)", text)
    return OF_THE_RUN.sub("#", TEMPORARY.sub(r"\1#", text))


def read_folder(folder: Path, one_at_a_time: bool) -> dict[str, Any]:
    """The fields of an Outcome that dbt leaves in its target folder and its log."""
    target = folder / "target"
    results = target / "run_results.json"
    parsed = target / "manifest.json"
    log = folder / "logs" / "dbt.log"  # there is none when dbt does not know a flag
    written = json.loads(plain(results.read_text(), target)) if results.exists() else {}
    declared = manifest.read(plain(parsed.read_text(), target)) if parsed.exists() else {}
    found = written.get("results", [])
    cut_off = [one["unique_id"] for one in found if one["message"] == FAILED_FAST]
    for one in found:
        if one["unique_id"] in cut_off:
            one |= dict.fromkeys(COMPILED)
    keys = [f"nodes {one}" for one in cut_off]
    unsure = tuple(_sql_path(declared[key]) for key in keys if key in declared)
    arguments = written.get("args", {})
    return {
        "arguments": {one: arguments[one] for one in arguments.keys() - OF_ITS_OWN},
        "commanded": arguments.get("invocation_command", ""),
        "manifest": declared,
        "log": tuple(sorted(dbt_log.read(plain(log.read_text(), target)))) if log.exists() else (),
        "nodes": {
            one["unique_id"]: {name: one[name] for name in COMPARED if one.get(name) is not None}
            for one in found
        },
        "order": tuple(
            one["unique_id"]
            for one in found
            if one_at_a_time
            and one["status"] != "skipped"
            and not one["unique_id"].startswith("unit_test.")
        ),
        "sql": {
            str(path.relative_to(target)): plain(path.read_text(), target)
            for folder in ("compiled", "run")
            for path in sorted((target / folder).rglob("*"))
            if path.is_file() and not _is_given_input(path)
            if not path.relative_to(target / folder).as_posix().startswith(unsure)
        },
    }


def _sql_path(node: Facts) -> str:
    """Where dbt writes a node's SQL, in `compiled` and in `run`: a test's below its YAML file."""
    path = f"{node['package_name']}/{node['original_file_path']}"
    return path if path.endswith((".sql", ".py")) else f"{path}/{node['path']}"


def _is_given_input(path: Path) -> bool:
    return path.parent.suffix == ".yml" and "-- Fixture for" in path.read_text()


def _refusals(mine: str, theirs: str) -> list[str]:
    """The command line prints more around the message than a worker passes on, and in another
    order."""
    same = bool(mine) == bool(theirs) and (_holds(mine, theirs) or _holds(theirs, mine))
    return [] if same else [_told("refused", mine, theirs)]


def _holds(text: str, other: str) -> bool:
    """Whether each line of the other text stands in this one, however it is moved in."""
    whole = " ".join(text.split())
    return all(" ".join(line.split()) in whole for line in other.splitlines())


def _told(what: str, mine: Any, theirs: Any) -> str:
    texts = [
        one if isinstance(one, str) else json.dumps(one, indent=1, default=str)
        for one in (mine, theirs)
    ]
    before, after = (one.splitlines() for one in texts)
    lines = list(unified_diff(before, after, "first", "second", n=2, lineterm=""))
    return "\n".join([what, *lines[:LONGEST]])
