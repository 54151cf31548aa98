"""The secrets of dbt's profile, which only dbt knows, because it renders it.

Each command of dbt's reads the profile first. From then on this process hides its secrets: in its
answers to the runner, and in what dbt writes (log, output, compiled SQL, results). The answers also
bring the secrets to the runner, which shows files that dbt wrote.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dbt.config.profile import Profile

from mage_dbt.base.redaction import (
    hide,
    is_secret_key,
    scrub_data,
    scrub_message,
    scrubber,
    secrets_in,
)
from mage_dbt.base.text import ascii_json

SURE = 8
"""Characters of a value that counts as a secret only by its place: its adapter does not show it, or
it is a part of a secret. Shorter values there are words (`https`, `oauth`)."""

FREE = frozenset(("message", "error", "compiled_code", "adapter_response"))
"""Fields of a result in dbt's own files that may hold any text; the others identify."""

_found: set[str] = set()


def line(answer: Mapping[str, Any]) -> str:
    """An answer to the runner, as one line of JSON, without secrets in its free text.

    Its field `secrets` has the profile's, so that the runner hides them too.
    """
    return ascii_json({**scrub_message(answer), "secrets": sorted(_found)}) + "\n"


def protect() -> None:
    """From now on this process hides the profile's secrets, whoever writes."""
    _hide_what_is_rendered()
    _hide_what_cannot_be_read()
    _clean_what_dbt_writes()


def secrets_of(output: Mapping[str, Any], shown: Mapping[str, Any] | None) -> set[str]:
    """The secrets in a target's rendered `output`.

    `shown` is what its adapter shows of it (`Credentials.connection_info`), or None before it has
    read it. Any longer text that it does not show is a secret too, whatever its name. A value that
    the profile shows elsewhere is not hidden: if the password is the user's name, a star in place
    of that would give it away.
    """
    open_keys = output if shown is None else shown
    known = {
        str(value)
        for key, value in open_keys.items()
        if not is_secret_key(key) and isinstance(value, str | int)
    }
    found: set[str] = set()
    for key, value in output.items():
        hidden = is_secret_key(key) or (shown is not None and key not in shown)
        for name, text in _texts(key, value):
            if is_secret_key(name):
                found |= {text, *_lines(text)}
            elif hidden and len(text) >= SURE:
                found.add(text)
            found |= secrets_in(text)
    return found - known


def written_in(text: str) -> set[str]:
    """What may be secret, by its key, in a profiles.yml that is no valid YAML."""
    found = secrets_in(text)
    for line in text.splitlines():
        key, colon, value = line.strip().strip("-{ ").partition(":")
        if colon and is_secret_key(key.strip("\"' ")):
            found |= {value.strip(), value.strip("\"' ,}")}
    return found


def _texts(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Each text and number in a value, with the nearest key."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _texts(str(name), part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(key, part)
    elif isinstance(value, str):
        yield key, value
        if value.lstrip().startswith("{"):  # a key's file as one text
            try:
                yield from _texts(key, json.loads(value))
            except ValueError:
                return
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, str(value)


def _lines(text: str) -> list[str]:
    """The lines of a key that has several, without the ones that say what it is."""
    lines = text.splitlines()
    return [line for line in lines if not line.startswith("-----")] if len(lines) > 1 else []


def _hide(secrets: set[str]) -> None:
    _found.update(secrets)
    hide(*secrets)


def _hide_what_is_rendered() -> None:
    read = Profile._credentials_from_profile

    def credentials_from(output: dict[str, Any], profile: str, target: str) -> Any:
        given = dict(output)
        _hide(secrets_of(given, None))  # before its adapter complains of what it holds
        credentials = read(output, profile, target)
        shown = {"type": credentials.type, "target": target, "profile": profile}
        _hide(secrets_of(given, {**dict(credentials.connection_info(with_aliases=True)), **shown}))
        return credentials

    Profile._credentials_from_profile = staticmethod(credentials_from)


def _hide_what_cannot_be_read() -> None:
    """dbt's error shows the lines around what is no valid YAML."""

    def hiding(read: Callable[[str], Any]) -> Callable[[str], Any]:
        def read_profile(folder: str) -> Any:
            try:
                return read(folder)
            except Exception:
                _hide(written_in((Path(folder) / "profiles.yml").read_text(errors="replace")))
                raise

        return read_profile

    _replace("dbt.config.profile", "read_profile", hiding)


def _clean_what_dbt_writes() -> None:
    clean = scrubber()
    streams: Any = sys
    streams.stdout, streams.stderr = _Clean(sys.stdout, clean), _Clean(sys.stderr, clean)
    for module in ("dbt.events.logging", "dbt_common.events.functions"):
        _replace(module, "env_scrubber", lambda _: clean)
    _replace(
        "dbt.contracts.graph.nodes",
        "write_file",
        lambda write: lambda path, text="": write(path, clean(text)),
    )
    for module in ("dbt.artifacts.schemas.base", "dbt.artifacts.schemas.run.v5.run"):
        _replace(module, "write_json", _cleaning)
    _replace("dbt.parser.manifest", "ManifestLoader.write_manifest_for_partial_parse", _keeping)


def _replace(module: str, name: str, by: Callable[[Any], Any]) -> None:
    """Replaces a function of dbt's by what `by` makes of it. Another version may not have it."""
    try:
        found: Any = importlib.import_module(module)
        *outer, last = name.split(".")
        for part in outer:
            found = getattr(found, part)
        setattr(found, last, by(getattr(found, last)))
    except (ImportError, AttributeError):
        print(f"This dbt has no {module}.{name}: no secret is looked for there.", file=sys.stderr)


def _keeping(write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """dbt keeps the values of the environment variables that files read, to compare them later.

    A secret value is kept as a star, so the files that read it are parsed again each time.
    """

    def write_manifest(loader: Any) -> Any:
        known = loader.manifest.env_vars
        loader.manifest.env_vars = scrub_data(known)
        try:
            return write(loader)
        finally:
            loader.manifest.env_vars = known

    return write_manifest


def _cleaning(write_json: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    def write(path: str, data: Any) -> Any:
        for result in data.get("results") or ():
            if isinstance(result, dict):
                for name in FREE & result.keys():
                    result[name] = scrub_data(result[name])
        if "args" in data:
            data["args"] = scrub_data(data["args"])
        return write_json(path, data)

    return write


class _Clean:
    """A stream that writes nothing secret."""

    def __init__(self, stream: Any, clean: Callable[[str], str]) -> None:
        self._stream = stream
        self._clean = clean

    def write(self, text: str) -> int:
        return int(self._stream.write(self._clean(text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
