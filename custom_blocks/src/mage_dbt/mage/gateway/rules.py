"""Which addresses of Mage are open, and for which role. An address that is not listed is closed.

Paths are checked as Mage's router sees them, undecoded. A path that can be read in two ways is
refused first. So is a path that, decoded to the end as Mage does, begins at the machine's root.
Mage's own checks follow, and both must agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from mage_dbt.identity.role import Role
from mage_dbt.mage.gateway.parameters import DEEPEST_ENCODING

READING = ("GET", "HEAD")

METHODS = (*READING, "POST", "PUT", "DELETE")
"""A preflight (OPTIONS) comes only from other pages, and none of them may call."""

READ_ALL = (Role.VIEWER, Role.ANALYST)
RESOURCES: Mapping[str, tuple[Role, Role]] = {
    **dict.fromkeys(
        (
            *("backfills", "block_layout_items", "block_outputs", "block_runs", "block_templates"),
            *("blocks", "cache_items", "client_pages", "custom_designs", "custom_templates"),
            *("data_providers", "execution_frameworks", "execution_states", "extension_options"),
            *("file_contents", "file_versions", "files", "folders", "global_data_products"),
            *("interactions", "kernel_processes", "kernels", "logs", "monitor_stats", "outputs"),
            *("page_block_layouts", "pipeline_execution_frameworks", "pipeline_interactions"),
            *("pipeline_runs", "pipeline_schedules", "pipeline_triggers", "pipelines", "tags"),
            *("status", "statuses", "variables", "widgets"),
        ),
        READ_ALL,
    ),
    # A search comes by POST and changes nothing.
    "search_results": (Role.VIEWER, Role.VIEWER),
    **dict.fromkeys(
        ("autocomplete_items", "code_executions", "configuration_options", "downloads", "secrets"),
        (Role.ANALYST, Role.ANALYST),
    ),
    **dict.fromkeys(("projects", "schedulers", "users"), (Role.VIEWER, Role.OWNER)),
    **dict.fromkeys(
        ("permissions", "role_permissions", "roles", "user_roles"), (Role.OWNER, Role.OWNER)
    ),
}
"""For each resource of the API: the least role that reads, and the least that changes it."""

PAGES = (
    *("", "files", "global-data-products", "overview", "pipeline-runs", "pipelines", "settings"),
    *("templates", "triggers"),
)
"""The first part of the pages' addresses."""

SIGN_IN = "/sign-in"
"""Mage's own form. Whoever gets here is signed in already."""

STATIC = ("_next", "favicon.ico", "fonts", "images", "monaco-editor")

RAW_TRIGGER = re.compile(r"/api/pipeline_schedules/[^/]+/(api_trigger/?|pipeline_runs/[^/]+/?)")
"""Starts a pipeline for whoever has the token, without a person. Only the runner may."""

UNREADABLE = re.compile(r"[\x00-\x20\x7f-\U0010ffff\\]")
"""Characters that an encoded path must not have."""

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\]")
"""Characters that a decoded path must not have."""


@dataclass(frozen=True)
class Refusal:
    """An answer instead of Mage's."""

    status: int
    sentence: str


def refusal(method: str, path: str, role: Role, runner: bool = False) -> Refusal | None:
    """The reason why a request is refused; None when it may pass.

    `role` is the caller's role. `runner` says that the caller is the workspace's own runner.
    """
    if method not in METHODS:
        return Refusal(405, "Mage takes no such method here.")
    if UNREADABLE.search(path) or _is_ambiguous(path):
        return Refusal(404, "There is no such address.")
    needed = _needed(method, path, runner)
    if isinstance(needed, Refusal):
        return needed
    if role < needed:
        return Refusal(403, f"This is for the role {needed}; yours is {role}.")
    return None


def is_page(path: str) -> bool:
    """Whether this is the address of a page, to which any other page may link."""
    return path[1:].split("/", 1)[0] in (*PAGES, SIGN_IN[1:])


def is_mages_own(path: str) -> bool:
    """Whether a file of Mage's answers there, the same for everybody."""
    return is_page(path) or path[1:].split("/", 1)[0] in STATIC


def _is_ambiguous(path: str) -> bool:
    """Whether a path has empty parts, dots or control characters at any depth of encoding.

    A path from the root has an empty part. A slash at the end is not ambiguous.
    """
    if not path.startswith("/"):
        return True
    for _ in range(DEEPEST_ENCODING):
        if "//" in path or UNPRINTABLE.search(path) or {".", ".."} & set(path.split("/")):
            return True
        path, before = unquote(path), path
        if path == before:
            return False
    return True


def _needed(method: str, path: str, runner: bool) -> Role | Refusal:
    first, *rest = path[1:].split("/")
    closed = Refusal(403, "This part of Mage is closed here; docs/security.md says why.")
    if first == "api":
        if RAW_TRIGGER.fullmatch(path):
            return Role.OWNER if runner else closed
        return _resource(method, rest) or closed
    if path == "/websocket/":
        return Role.ANALYST  # it executes
    if first == "event-streams":
        return Role.ANALYST
    if first in PAGES or first in STATIC:
        return Role.VIEWER if method in READING else closed
    return closed


def _resource(method: str, parts: list[str]) -> Role | None:
    """The role for `/api/<resource>/<id>/<child>/…`; None when resource or child is closed."""
    names = [parts[0], parts[2]] if len(parts) > 2 else parts[:1]
    found = [RESOURCES[name] for name in names if name in RESOURCES]
    if not found or len(found) < len(names):
        return None
    reads = [reading for reading, _ in found]
    return max(*reads, found[-1][1]) if method not in READING else max(reads)
