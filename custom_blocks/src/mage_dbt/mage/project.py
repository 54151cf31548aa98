"""The Mage project people work in: made from the template, kept in step with dbt-metric.

Files of ours are written anew at every start; whatever else is in the project belongs to the
analysts and stays. Only the standard library and PyYAML: this runs where Mage is not installed.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from mage_dbt.home import Home
from mage_dbt.morning import Morning, first_instant
from mage_dbt.settings import CHECKOUT, Settings

TEMPLATE = CHECKOUT / "mage_project"

PIPELINES = (
    "daily_full_build",
    "rerun_failed",
    "single_model_rerun",
    "incremental_full_refresh",
    "dbt_command",
)

THEIRS = ("io_config.yaml",)
"""Files that are the analysts' once they are there: they add connections of their own to it."""

API_TRIGGER = "API"
DAILY_TRIGGER = "Every morning"
DAILY_PIPELINE = "daily_full_build"

LONGEST_LABEL = 90
"""Characters of an option's label; Mage's menu does not wrap."""


@dataclass(frozen=True)
class FormModel:
    """A model as the forms offer it."""

    name: str
    refreshable: bool = False
    """Whether an ordinary build keeps of it what a full refresh builds anew."""
    description: str = ""

    @property
    def label(self) -> str:
        """The name and the first line of its description."""
        first = self.description.strip().split("\n", 1)[0]
        label = f"{self.name}: {first}" if first else self.name
        return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


LARGEST_FILE = 1_000_000
"""Bytes of a file that Mage writes and we read."""


def install(settings: Settings, home: Home, now: datetime | None = None) -> None:
    """Writes our files into the Mage project; call it before Mage starts.

    Analysts' files stay, and so do triggers they added to our pipelines, a pause they set on the
    daily trigger, and the forms' model lists, which only a ready commit can renew.
    """
    token = _trigger_token(home)
    first = not (home.mage_project / "metadata.yaml").exists()
    for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file()):
        relative = source.relative_to(TEMPLATE)
        target = home.mage_project / relative
        if source.name == "triggers.yaml":
            _write_triggers(target, _triggers(source, target, token))
        elif source.name in THEIRS:
            if not target.exists():
                _write(target, source.read_text())
        elif relative.parts[0] == "interactions":
            _write(target, _dump(_form(source, target)))
        elif "__pycache__" not in relative.parts:
            _write(target, source.read_text())
    now = now or datetime.now(UTC)
    write_schedule(settings, home, now, missed_since=now if first else None)


def write_forms(home: Home, models: Sequence[FormModel]) -> None:
    """Renews the forms' lists of models; Mage shows them without a restart.

    The full refresh offers what an ordinary build does not build anew: incremental models, seeds,
    materialized views.
    """
    by_name = sorted(models, key=lambda model: model.name)
    offered = {
        "single_model_rerun.yaml": by_name,
        "incremental_full_refresh.yaml": [model for model in by_name if model.refreshable],
    }
    for name, choices in offered.items():
        path = home.mage_project / "interactions" / name
        form = _read(TEMPLATE / "interactions" / name)
        form["inputs"]["model"]["options"] = [
            {"label": model.label, "value": model.name} for model in choices
        ]
        _write(path, _dump(form))


def write_schedule(
    settings: Settings, home: Home, now: datetime, missed_since: datetime | None = None
) -> None:
    """Points the daily trigger's UTC cron at today's morning, also when that is past.

    Call it at start and every minute or so: it writes only when something changes, that is when
    clocks change or a new local date begins. Mage fires when the last tick of the cron is not
    older than `last_enabled_at` and has no run yet. So that a morning slept through is built late
    and one of another date is not, `last_enabled_at` is the beginning of the local date. When the
    cron changes, Mage sets `last_enabled_at` to now by itself; if today's morning is already past
    by then, `create_initial_pipeline_run` makes Mage fire for it all the same.

    `missed_since`: a morning before this instant was not missed (a new workspace has no past);
    without it, the beginning of the local date.
    """
    morning = Morning(settings.daily_build_at, ZoneInfo(settings.daily_build_timezone))
    path = home.mage_project / "pipelines" / DAILY_PIPELINE / "triggers.yaml"
    triggers = _triggers_in(path)
    trigger = next((one for one in triggers if one.get("name") == DAILY_TRIGGER), None)
    if trigger is None:
        return  # Mage is writing the file at this moment; the next call finds it.
    before = dict(trigger)
    day = morning.day(now)
    cron = morning.cron(day)
    changed = trigger.get("schedule_interval") != cron
    options = dict(trigger.get("settings") or {})
    since = missed_since or first_instant(datetime.combine(day, time(0)), morning.zone)
    past = since <= morning.due(day) <= now
    options["create_initial_pipeline_run"] = past and (
        changed or bool(options.get("create_initial_pipeline_run"))
    )
    enabled = instant(trigger.get("last_enabled_at"))
    trigger |= {
        "schedule_interval": cron,
        "description": (
            f"Every day at {settings.daily_build_at:%H:%M} {settings.daily_build_timezone}. The "
            f"cron is that time in UTC and follows the clocks there by itself. To change it: the "
            f"settings DAILY_BUILD_AT and DAILY_BUILD_TIMEZONE."
        ),
        "settings": options,
        "last_enabled_at": max(since, enabled) if enabled else since,
    }
    if trigger != before:
        _write_triggers(path, triggers)


def daily_is_paused(home: Home) -> bool:
    """Whether somebody has switched the daily trigger off in Mage."""
    path = home.mage_project / "pipelines" / DAILY_PIPELINE / "triggers.yaml"
    triggers = _triggers_in(path)
    daily = next((one for one in triggers if one.get("name") == DAILY_TRIGGER), None)
    return daily is not None and daily.get("status") == "inactive"


def instant(value: object) -> datetime | None:
    """A time in a trigger, which YAML reads without a zone when Mage wrote it so; always UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _triggers(source: Path, target: Path, token: str) -> list[dict[str, Any]]:
    """Our triggers of one pipeline, then those that people added to it."""
    ours = _triggers_in(source)
    there = {one.get("name"): one for one in _triggers_in(target)}
    merged = []
    for trigger in ours:
        old = there.pop(trigger["name"], {})
        if trigger["schedule_type"] == "api":
            merged.append(old | trigger | {"token": token})
        else:
            # The cron is write_schedule's; whether the trigger is paused is the analysts'.
            kept = {name: old[name] for name in ("schedule_interval", "status") if name in old}
            merged.append(old | trigger | kept)
    return [*merged, *there.values()]


def _form(source: Path, target: Path) -> Mapping[str, Any]:
    """A form of ours with the options it has had so far, where they are filled in later."""
    form = _read(source)
    there = _read(target).get("inputs") or {}
    for name, field in form["inputs"].items():
        if field.get("options") == []:
            field["options"] = (there.get(name) or {}).get("options") or []
    return form


def _trigger_token(home: Home) -> str:
    """The token of all our API triggers; made once. Mage's URLs take letters and digits only."""
    path = home.mage_trigger_token
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, secrets.token_hex(32), mode=0o600)
    return path.read_text()


def _triggers_in(path: Path) -> list[dict[str, Any]]:
    found = _read(path).get("triggers")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _read(path: Path) -> dict[str, Any]:
    """A YAML file; empty when it is not there, half written (Mage writes in place), or no file.

    Code in a notebook may put anything in its place: a pipe would hold us for ever, a link would
    have us read what is not Mage's.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            there = os.fstat(descriptor)
            if not stat.S_ISREG(there.st_mode) or there.st_size > LARGEST_FILE:
                return {}
            read = yaml.safe_load(file.read(LARGEST_FILE))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return read if isinstance(read, dict) else {}


def _dump(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=100)


def _write_triggers(path: Path, triggers: Sequence[Mapping[str, Any]]) -> None:
    """Readable by the workspace's user alone: the file holds the triggers' token."""
    _write(path, _dump({"triggers": list(triggers)}), mode=0o600)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes aside and renames over, so that nobody reads half a file.

    A folder with the setgid bit is shared with its group, as it is between the containers, where
    Mage and the runner are different users: both write these files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.stat().st_mode & stat.S_ISGID:
        mode |= (mode & stat.S_IRWXU) >> 3
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(aside).chmod(mode)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
