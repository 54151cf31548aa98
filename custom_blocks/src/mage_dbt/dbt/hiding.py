"""What a project says must not be shown: by tags or `meta` of a column, a model or a source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

HIDING = frozenset(("hidden", "pii", "secret", "sensitive"))
"""Words of tags and of `meta` that hide."""

OFF = frozenset(("", "0", "false", "no", "none", "off"))
"""Values of such a word in `meta` that say the contrary."""


def is_to_be_hidden(entry: Any) -> bool:
    """Whether tags or `meta` of a column, a model or a source say so, its own or its `config`'s."""
    owners = (entry, getattr(entry, "config", None))
    return any(
        any(map(_hides, _tags(owner))) or _meta_hides(getattr(owner, "meta", None))
        for owner in owners
    )


def _tags(owner: Any) -> Iterable[Any]:
    tags = getattr(owner, "tags", None)
    return [tags] if isinstance(tags, str) else tags or ()


def _meta_hides(value: Any) -> bool:
    """A word as a key that is not off, or in a value, at any depth: `pii: true`,
    `contains_pii: yes`, `classification: sensitive`, `policies: [pii]`."""
    if isinstance(value, Mapping):
        return any(
            (_hides(name) and str(inner).lower() not in OFF) or _meta_hides(inner)
            for name, inner in value.items()
        )
    if isinstance(value, list | tuple | set):
        return any(map(_meta_hides, value))
    return isinstance(value, str) and _hides(value)


def _hides(text: Any) -> bool:
    return not HIDING.isdisjoint(re.split("[^a-z0-9]+", str(text).lower()))
