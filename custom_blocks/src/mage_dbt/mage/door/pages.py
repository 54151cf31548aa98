"""What the door adds to Mage's pages, and the page that stands where one of them is closed."""

from __future__ import annotations

import html
from typing import Any

from tornado.httputil import HTTPServerRequest

from mage_dbt.mage.door import people

RUN_PANEL = "layout_after_pipelines/detail/runs_width"
"""Where Mage's pages keep the width of the panel beside a pipeline run, in a browser's storage."""

HEAD = f"""
<style>
a[href="/terminal"], a[href="/version-control"] {{ display: none !important; }}
</style>
<script>
if (localStorage.getItem('{RUN_PANEL}') === null)
  localStorage.setItem('{RUN_PANEL}', String(Math.round(window.innerWidth / 2)));
</script>
""".encode()
"""No links to what is closed; and until somebody drags it, the panel with a run's results takes
half the window: Mage's own 200 pixels show a third of a table's first column."""

CLOSED = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Not here</title>
<style>
body {{ font: 16px/1.5 sans-serif; margin: 15vh auto; max-width: 34em; padding: 0 1em; }}
</style>
</head>
<body>
<h1>This page is not open</h1>
<p>{sentence}</p>
<p><a href="{back}">Back to the pipelines</a></p>
</body>
</html>
"""


def head(request: HTTPServerRequest) -> bytes:
    """For the beginning of a page's head."""
    signed_in: Any = people.script(request) if request.workspace_person else b""
    return HEAD + signed_in


def wants_page(request: HTTPServerRequest) -> bool:
    """Whether a person's browser opens an address, and no program or script of a page."""
    return request.method == "GET" and "text/html" in request.headers.get("Accept", "")


def closed(sentence: str, back: str) -> str:
    """The page that says why another is not shown, and leads back."""
    return CLOSED.format(sentence=html.escape(sentence), back=html.escape(back))
