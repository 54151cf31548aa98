"""The page's own files: what was vendored is what the list says."""

from __future__ import annotations

import hashlib

from mage_dbt.launcher import vendored
from mage_dbt.server.pages import assets

LICENCES = {"0BSD", "MIT"}


def test_every_vendored_file_is_the_listed_one() -> None:
    listed = {entry["file"]: entry for entry in vendored.listed()}
    there = {path.name: path for path in vendored.FOLDER.iterdir() if path != vendored.LIST}
    assert listed.keys() == there.keys()
    for name, entry in listed.items():
        assert hashlib.sha256(there[name].read_bytes()).hexdigest() == entry["sha256"], name
        assert entry["licence"] in LICENCES
        assert entry["version"] and entry["reason"]


def test_what_every_page_loads_is_small() -> None:
    base = ("htmx.min.js", "hx-csp.min.js", "hx-sse.min.js", "uFuzzy.iife.min.js")
    files = [f"vendor/{name}" for name in base] + ["page.css", "page.js", "icon.svg"]
    assert sum(len(assets._assets()[name].packed) for name in files) < 50_000
