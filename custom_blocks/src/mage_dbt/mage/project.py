"""The Mage project that people work in: made from the template, updated with dbt-metric.

Every start writes our files again. Everything else in the project belongs to the analysts and
stays. This also runs where Mage is not installed, and where PostgreSQL cannot be asked.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import yaml

from mage_dbt.base.files import replace_file
from mage_dbt.home import Home
from mage_dbt.mage.trigger_lock import only_change
from mage_dbt.model.daily_build import first_instant
from mage_dbt.model.schedule import Schedule
from mage_dbt.settings import CHECKOUT, Settings

TEMPLATE = CHECKOUT / "mage_project"

PIPELINES = (
    "daily_full_build",
    "rerun_failed",
    "single_model_rerun",
    "incremental_full_refresh",
    "undo_refresh",
    "dbt_command",
)

THEIRS = ("io_config.yaml",)
"""Files that are written once and then belong to the analysts, who add connections to them."""

API_TRIGGER = "API"
DAILY_TRIGGER = "Every morning"
DAILY_PIPELINE = "daily_full_build"

GUIDES = "markdowns"
"""The folder of the pipelines' guides."""

LONGEST_LABEL = 90
"""Characters of an option's label; Mage's menu does not wrap."""

LARGEST_FILE = 1_000_000
"""Bytes. A larger file of Mage's is not read."""


@dataclass(frozen=True)
class FormModel:
    """A model in the lists of the forms."""

    name: str
    refreshable: bool = False
    """Whether a full refresh builds it aside and swaps it in."""
    description: str = ""

    @property
    def label(self) -> str:
        """The name and the first line of the description."""
        first = self.description.strip().split("\n", 1)[0]
        label = f"{self.name}: {first}" if first else self.name
        return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def install(settings: Settings, home: Home, now: datetime | None = None) -> None:
    """Writes our files into the Mage project. Call it before Mage starts.

    Analysts' files stay. So do triggers that they added to our pipelines, the pause of the daily
    trigger, and the forms' lists of models, which only a ready commit can renew.
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
        elif relative.parts[0] == GUIDES:
            if not target.exists():
                _write(target, guide(source.read_text(), settings.page_address, ""))
        elif "__pycache__" not in relative.parts:
            _write(target, source.read_text())
    now = now or datetime.now(UTC)
    schedule = _last_schedule(settings, home).at_time(now)
    write_schedule(schedule, home, now, missed_since=now if first else None)


def write_forms(home: Home, models: Sequence[FormModel]) -> None:
    """Renews the forms' lists of models. Mage shows them without a restart.

    The full refresh and its undo offer what is built aside for itself: incremental models, tables
    and seeds.
    """
    by_name = sorted(models, key=lambda model: model.name)
    refreshable = [model for model in by_name if model.refreshable]
    offered = {
        "single_model_rerun.yaml": by_name,
        "incremental_full_refresh.yaml": refreshable,
        "undo_refresh.yaml": refreshable,
    }
    for name, choices in offered.items():
        path = home.mage_project / "interactions" / name
        form = _read(TEMPLATE / "interactions" / name)
        form["inputs"]["model"]["options"] = [
            {"label": model.label, "value": model.name} for model in choices
        ]
        _write(path, _dump(form))


def write_guides(settings: Settings, home: Home, live: str) -> None:
    """Writes each pipeline's guide anew, with the address of the runner's page.

    `live` is a sentence on the commit that runs use. Mage shows it at the next look.
    """
    for source in sorted((TEMPLATE / GUIDES).glob("*.md")):
        text = guide(source.read_text(), settings.page_address, live)
        _write(home.mage_project / GUIDES / source.name, text)


def guide(text: str, page: str, live: str) -> str:
    """A guide with a line below its title: where the page is, and which commit is live."""
    title, _, rest = text.partition("\n")
    where = f"**[Open the page: what failed and why, run, refresh, undo]({page}/)**"
    return "\n".join([title, "", f"{where}  ", *([f"{live}  "] if live else []), rest])


def write_schedule(
    schedule: Schedule,
    home: Home,
    now: datetime,
    missed_since: datetime | None = None,
    paused: bool | None = None,
) -> None:
    """Sets the daily trigger's cron, in UTC, to today's build, even when its time has passed.

    Call it at start, about once a minute, and when the schedule has changed. It writes only when
    something changes. Mage fires when the cron's last tick is not older than `last_enabled_at` and
    has no run yet. So `last_enabled_at` is the beginning of the local date: a build missed today
    runs late, and a build missed on another date does not run. When the cron changes, Mage sets
    `last_enabled_at` to now. If today's build is due before that, `create_initial_pipeline_run`
    makes Mage fire all the same.

    A build due before `missed_since` was not missed: a new workspace has no past, and what a pause
    held up is not made up for. Without the argument it is the beginning of the local date. `paused`
    switches the trigger off or on; None leaves that as it is.

    Raises Unavailable while somebody else changes triggers.
    """
    with only_change(home.mage_project):
        _write_schedule(schedule, home, now, missed_since, paused)


def _write_schedule(
    schedule: Schedule,
    home: Home,
    now: datetime,
    missed_since: datetime | None,
    paused: bool | None,
) -> None:
    daily_build = schedule.daily_build
    path = _daily_triggers(home)
    triggers = _triggers_in(path)
    trigger = next((item for item in triggers if item.get("name") == DAILY_TRIGGER), None)
    if trigger is None:
        return  # Mage is writing the file at this moment; the next call finds the trigger.
    before = dict(trigger)
    day = daily_build.day(now)
    cron = daily_build.cron(day)
    changed = trigger.get("schedule_interval") != cron
    options = dict(trigger.get("settings") or {})
    since = missed_since or first_instant(datetime.combine(day, time(0)), daily_build.zone)
    since = max(since, schedule.resumed_at or since).astimezone(UTC)
    past = since <= daily_build.due(day) <= now
    options["create_initial_pipeline_run"] = past and (
        changed or bool(options.get("create_initial_pipeline_run"))
    )
    enabled = instant(trigger.get("last_enabled_at"))
    trigger |= {
        "schedule_interval": cron,
        "description": (
            f"Every day at {schedule.when}. The cron is that time in UTC, and follows when clocks "
            "change there. The page Settings of the workspace changes the time."
        ),
        "settings": options,
        "last_enabled_at": max(since, enabled) if enabled else since,
    }
    if paused is not None:
        trigger["status"] = "inactive" if paused else "active"
    if trigger != before:
        _write_triggers(path, triggers)


def daily_is_paused(home: Home) -> bool:
    """Whether the daily trigger is switched off in Mage."""
    return daily_switch(home) == "inactive"


def daily_switch(home: Home) -> str | None:
    """`active` or `inactive`, as the daily trigger's file says; None while nobody can read it."""
    triggers = _triggers_in(_daily_triggers(home))
    daily = next((item for item in triggers if item.get("name") == DAILY_TRIGGER), None)
    status = daily.get("status") if daily else None
    return status if status in ("active", "inactive") else None


def begins_late(home: Home, due: datetime) -> bool:
    """Whether Mage begins a build that was due then and was missed; see `write_schedule`.

    True while nobody can read the trigger.
    """
    triggers = _triggers_in(_daily_triggers(home))
    daily = next((item for item in triggers if item.get("name") == DAILY_TRIGGER), {})
    enabled_at = instant(daily.get("last_enabled_at"))
    at_once = bool((daily.get("settings") or {}).get("create_initial_pipeline_run"))
    return at_once or enabled_at is None or enabled_at <= due


def daily_version(home: Home) -> tuple[int, ...]:
    """Changes whenever the daily trigger's file does; empty where there is none."""
    try:
        there = _daily_triggers(home).lstat()
    except OSError:
        return ()
    return (there.st_mtime_ns, there.st_size, there.st_ino)


@dataclass(frozen=True)
class Agreed:
    """What the trigger in Mage and the schedule last agreed on."""

    schedule: Schedule
    paused: bool


@dataclass(frozen=True)
class Written:
    """How the runner last wrote the trigger's switch, until Mage has taken it."""

    paused: bool
    overwrote_at: datetime | None = None
    """When that replaced another switch of the runner's, which Mage may have read meanwhile."""


def agreed(home: Home) -> Agreed | None:
    """What was kept by `keep_agreed`; None before the first time, or when nobody can read it."""
    try:
        kept = _kept(home)
        return Agreed(Schedule.from_json(kept["schedule"]), bool(kept["paused"]))
    except (LookupError, TypeError, ValueError):
        return None


def keep_agreed(home: Home, found: Agreed) -> None:
    """Keeps it in the Mage project, where the next start of Mage finds it as well.

    What was written before is taken then.
    """
    _keep(home, {"schedule": found.schedule.to_json(), "paused": found.paused})


def written(home: Home) -> Written | None:
    """What was kept by `keep_written` since the last `keep_agreed`; None without."""
    try:
        kept = _kept(home)["written"]
        return Written(bool(kept["paused"]), instant(kept["overwrote_at"]))
    except (LookupError, TypeError, ValueError):
        return None


def keep_written(home: Home, found: Written) -> None:
    """Keeps it beside what was agreed. Call it before the trigger is written."""
    overwrote_at = found.overwrote_at and found.overwrote_at.isoformat()
    kept = {"paused": found.paused, "overwrote_at": overwrote_at}
    try:
        before = _kept(home)
    except ValueError:
        before = {}
    _keep(home, {**before, "written": kept})


def _kept(home: Home) -> dict[str, Any]:
    """Raises ValueError when it is not there or is no JSON object."""
    kept = json.loads(_content(home.mage_schedule))
    if not isinstance(kept, dict):
        raise ValueError("not an object")
    return kept


def _keep(home: Home, kept: Mapping[str, Any]) -> None:
    _write(home.mage_schedule, json.dumps(kept, indent=1) + "\n")


def _last_schedule(settings: Settings, home: Home) -> Schedule:
    """The schedule that was last written, as far as the settings of today leave it."""
    first = Schedule.by_settings(settings.daily_build_at, settings.daily_build_timezone)
    last = agreed(home)
    if last is None:
        return first
    build_at = first.build_at if last.schedule.settings_at is None else last.schedule.build_at
    return replace(last.schedule, build_at=build_at, zone=first.zone)


def _daily_triggers(home: Home) -> Path:
    return home.mage_project / "pipelines" / DAILY_PIPELINE / "triggers.yaml"


def instant(value: object) -> datetime | None:
    """A time in a trigger, in UTC; Mage writes some without a zone. None when it is no time."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _triggers(source: Path, target: Path, token: str) -> list[dict[str, Any]]:
    """Our triggers of one pipeline, then those that people added."""
    ours = _triggers_in(source)
    there = {trigger.get("name"): trigger for trigger in _triggers_in(target)}
    merged = []
    for trigger in ours:
        old = there.pop(trigger["name"], {})
        if trigger["schedule_type"] == "api":
            merged.append(old | trigger | {"token": token})
        else:
            # write_schedule sets the cron; the runner and people in Mage set the pause.
            kept = {name: old[name] for name in ("schedule_interval", "status") if name in old}
            merged.append(old | trigger | kept)
    return [*merged, *there.values()]


def _form(source: Path, target: Path) -> Mapping[str, Any]:
    """A form of ours. A list that a commit fills in keeps the options it has."""
    form = _read(source)
    there = _read(target).get("inputs") or {}
    for name, field in form["inputs"].items():
        if field.get("options") == []:
            field["options"] = (there.get(name) or {}).get("options") or []
    return form


def _trigger_token(home: Home) -> str:
    """The token of all our API triggers, made once. Mage's URLs take letters and digits only."""
    path = home.mage_trigger_token
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, secrets.token_hex(32), mode=0o600)
    return path.read_text()


def _triggers_in(path: Path) -> list[dict[str, Any]]:
    found = _read(path).get("triggers")
    return (
        [trigger for trigger in found if isinstance(trigger, dict)]
        if isinstance(found, list)
        else []
    )


def _read(path: Path) -> dict[str, Any]:
    """A YAML file; empty when it is missing, half written (Mage writes in place), or not a file."""
    try:
        read = yaml.safe_load(_content(path))
    except (ValueError, RecursionError, yaml.YAMLError):
        return {}
    return read if isinstance(read, dict) else {}


def _content(path: Path) -> bytes:
    """A file of the Mage project; empty when it is missing, or not a file.

    Code in a notebook may put anything in its place: a pipe would block us for ever, and a link
    would make us read another file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            there = os.fstat(descriptor)
            if not stat.S_ISREG(there.st_mode) or there.st_size > LARGEST_FILE:
                return b""
            return file.read(LARGEST_FILE)
    except OSError:
        return b""


def _dump(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=100)


def _write_triggers(path: Path, triggers: Sequence[Mapping[str, Any]]) -> None:
    """Only the workspace's user can read the file: it holds the triggers' token."""
    _write(path, _dump({"triggers": list(triggers)}), mode=0o600)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes a temporary file and renames it, so that nobody reads half a file.

    A folder with the setgid bit is shared with its group, as between the containers. Mage and the
    runner are different users there, and both write these files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.stat().st_mode & stat.S_ISGID:
        mode |= (mode & stat.S_IRWXU) >> 3
    replace_file(path, text, mode)
