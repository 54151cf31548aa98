"""What dbt writes of the project in `manifest.json`, for comparing two of them.

Left out are times, where the project lies, what dbt brings itself, and what it adds to a node when
it compiles it (SQL, the macros that were called) or counts the hooks it runs: a warm run's manifest
is what its fork server has parsed, before anybody gave flags, so of a test it does not say where
`--store-failures` puts its rows.
"""

from __future__ import annotations

import json
from typing import Any

PARTS = (
    *("nodes", "sources", "macros", "docs", "exposures", "groups", "selectors", "disabled"),
    *("parent_map", "child_map", "group_map", "unit_tests", "functions"),
)

DBTS_OWN = ("macro.dbt.", "macro.dbt_postgres.", "doc.dbt.")

LEFT_OUT = frozenset(
    {
        *("created_at", "build_path", "compiled", "compiled_code", "compiled_path"),
        *("extra_ctes", "extra_ctes_injected", "macros", "index", "root_path"),
    }
)


def read(text: str) -> dict[str, Any]:
    """Each thing of the project by its part and name, such as `nodes model.shop.orders`."""
    manifest = json.loads(text)
    found = {
        f"{part} {name}": _without(facts)
        for part in PARTS
        for name, facts in (manifest.get(part) or {}).items()
        if not name.startswith(DBTS_OWN)
    }
    for name, facts in found.items():
        for one in facts if name.startswith("disabled ") else [facts]:
            if " test." in name and isinstance(one, dict):
                one.pop("relation_name", None)
    return found


def _without(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {name: _without(one) for name, one in facts.items() if name not in LEFT_OUT}
    return [_without(one) for one in facts] if isinstance(facts, list) else facts
