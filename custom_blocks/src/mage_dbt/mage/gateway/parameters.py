"""Which parameters of an address reach Mage, and which values they may have.

Mage reads parameters as regular expressions, paths of the whole machine, attributes to call,
modules to import and code to execute, for every reader. So only the parameters that its pages send
reach Mage, each with a value of its kind; others are removed. Mage decodes some values once more
than HTTP does, so the check decodes a value to the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

DEEPEST_ENCODING = 3
"""How often a path or a value may be encoded. Mage's pages encode twice at most."""


@dataclass(frozen=True)
class Kind:
    """What a value may be. `says` completes a sentence that begins "`name` is"."""

    pattern: re.Pattern[str]
    says: str


def _kind(pattern: str, says: str, listed: bool = False) -> Kind:
    whole = f"(?:{pattern})(?:,(?:{pattern}))*" if listed else pattern
    # An empty field of a page's form arrives empty, or as JavaScript's word for that.
    return Kind(re.compile(f"(?:{whole}|null|undefined|)"), says)


_PART = r"(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f,]{1,200}"
"""A part of a path, not only dots: so a path leads to no folder above it and not to the root."""

PATH = rf"{_PART}(?:/{_PART}){{0,30}}"
COLUMNS = (
    *("block_uuid", "completed_at", "created_at", "execution_date", "id", "name"),
    *("pipeline_uuid", "schedule_type", "started_at", "status", "type", "updated_at", "uuid"),
)
"""Mage takes the first word as an attribute of a class and calls the second: `query delete` empties
a table."""

FLAG = _kind("true|false|True|False|[01]", "true or false")
NUMBER = _kind(r"-?\d{1,18}(?:\.\d{1,6})?", "a number")
NUMBERS = _kind(r"\d{1,18}", "numbers", listed=True)
WORDS = _kind(r"[\w@: -]{1,100}", "a word", listed=True)
NAMES = _kind(PATH, "a name, or a path inside the project", listed=True)
FOLDER = _kind(rf"\.|{PATH}", "a path inside the project")
TEXT = _kind(r"[^\x00-\x1f\x7f]{1,500}", "a text of one line")
ORDER = _kind(rf"-?(?:{'|'.join(COLUMNS)})(?: (?:asc|desc))?", "a column", listed=True)
TIME = _kind(r"[\d :.TZ+-]{1,40}", "a time")
NOTHING = _kind(r"a\^", "`a^`, which excludes nothing")
"""The only regular expression that Mage's pages send: it shows hidden files too."""

KNOWN: Mapping[str, Kind] = {
    **dict.fromkeys(
        (
            *("_http_error_codes", "check_active_status", "current_project", "details"),
            *("disable_retries_grouping", "filter_for_permissions", "force", "global_only"),
            *("group_by_pipeline_type", "include_all_pipeline_schedules", "include_block_catalog"),
            *("include_block_metadata", "include_block_pipelines", "include_documentation"),
            *("include_outputs", "include_pipeline_count", "include_pipeline_tags"),
            *("include_pipeline_type", "include_pipeline_uuids", "include_preview_runs"),
            *("include_run_count", "include_schedules", "includes_block_metadata"),
            *("includes_content", "includes_extensions", "includes_outputs"),
            *("includes_outputs_spark", "limit_roles", "only_entity_options", "show_all"),
            *("skip_render", "unused_only", "update_content", "update_state"),
        ),
        FLAG,
    ),
    **dict.fromkeys(
        (
            *("_limit", "_offset", "backfill_id", "end_timestamp", "from_history_days"),
            *("max_results_for_block_outputs", "sample_count", "start_timestamp"),
        ),
        NUMBER,
    ),
    **dict.fromkeys(
        (
            *("block_run_id", "block_run_id[]", "pipeline_run_id", "pipeline_run_id[]"),
            *("pipeline_schedule_id", "pipeline_schedule_id[]"),
        ),
        NUMBERS,
    ),
    **dict.fromkeys(
        (
            *("_format", "block_language", "block_type", "block_type[]", "configuration_type"),
            *("entity", "item_type", "level", "level[]", "object_type", "option_type"),
            *("pipeline_type", "resource_type", "schedule_type[]", "status", "status[]", "type[]"),
        ),
        WORDS,
    ),
    **dict.fromkeys(
        (
            *("block_uuid", "block_uuid[]", "destination_table", "entity_ids", "entity_ids[]"),
            *("extension_uuid", "file_path"),
            *("global_data_product_uuid", "parent_stream", "pipeline_uuid", "pipeline_uuid[]"),
            *("pipelines[]", "project", "resource_uuid", "state_stream", "stream"),
        ),
        NAMES,
    ),
    **dict.fromkeys(("order_by", "order_by[]", "_order_by[]"), ORDER),
    **dict.fromkeys(("search", "tag[]", "pipeline_tag[]", "schedule_interval[]"), TEXT),
    **dict.fromkeys(("start_time", "end_time"), TIME),
    **dict.fromkeys(("exclude_pattern", "exclude_dir_pattern"), NOTHING),
    "directory_path": FOLDER,
}


UNUSED = ("api_key", "token")
"""Parameters that Mage's pages send and nothing reads: no key of Mage's opens anything."""


def known(name: str) -> bool:
    """Whether a parameter of this name reaches Mage."""
    return name in KNOWN


def wrong(name: str, values: Sequence[bytes]) -> str:
    """A sentence on what is wrong with the values of a known parameter; empty when nothing is."""
    kind = KNOWN[name]
    for value in values:
        try:
            text = decoded(value.decode())
        except UnicodeDecodeError:
            text = None
        if text is None or not kind.pattern.fullmatch(text):
            return f"`{name}` is {kind.says} here."
    return ""


def decoded(text: str) -> str | None:
    """The text without percent-encoding; None when it is encoded too many times."""
    for _ in range(DEEPEST_ENCODING):
        text, before = unquote(text), text
        if text == before:
            return text
    return None
