"""Mage's answers, as the gateway changes them: headers, pages, and the tokens of triggers."""

from __future__ import annotations

import html

import tornado.web
from tornado.httputil import HTTPHeaders, HTTPServerRequest

from mage_dbt.identity.role import Role
from mage_dbt.mage.gateway import people, rules
from mage_dbt.mage.gateway.rules import Refusal

HEAD_TAG = b"<head>"
"""After it a page of Mage's gets what the gateway adds."""

RUN_PANEL = "layout_after_pipelines/detail/runs_width"
"""Where Mage's pages keep the width of the panel beside a pipeline run, in a browser's storage."""

ADDED_TO_HEAD = f"""
<style>
a[href="/terminal"], a[href="/version-control"] {{ display: none !important; }}
</style>
<script>
if (localStorage.getItem('{RUN_PANEL}') === null)
  localStorage.setItem('{RUN_PANEL}', String(Math.round(window.innerWidth / 2)));
</script>
""".encode()
"""Hides links to closed pages. Until somebody drags it, the panel with a run's results gets half
the window: Mage's own 200 pixels show a third of a table's first column."""

REFUSAL_PAGE = """<!doctype html>
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

SHORTEST_TOKEN = 8
"""Characters. A shorter token is no secret, and hiding it would change other text by chance."""


class AnswerFilter(tornado.web.OutputTransform):  # type: ignore[misc]
    """Changes every answer.

    It removes headers that let other pages in, forbids other pages to frame ours, hides the tokens
    of triggers from a viewer, and adds to the head of a page.
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        self._request = request
        self._hidden: list[bytes] = []

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        if status_code == 200 and HEAD_TAG in chunk and "Content-Length" in headers:
            chunk = chunk.replace(HEAD_TAG, HEAD_TAG + _added_to_head(self._request), 1)
            headers["Content-Length"] = str(len(chunk))
            headers["Cache-Control"] = "no-store"
            headers.pop("Etag", None)  # it is that of the unchanged page
            if self._request.workspace_person:
                headers.add("Set-Cookie", people.cookie())
        for name in [name for name in headers if name.lower().startswith("access-control-")]:
            del headers[name]
        person = self._request.workspace_person
        if person and person.role < Role.ANALYST and not rules.is_mages_own(self._request.path):
            self._hidden = trigger_tokens()
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "SAMEORIGIN"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return status_code, headers, without_tokens(chunk, self._hidden)

    def transform_chunk(self, chunk: bytes, finishing: bool) -> bytes:
        return without_tokens(chunk, self._hidden)


class RefusalHandler(tornado.web.RequestHandler):  # type: ignore[misc]
    """Answers any request with a refusal: a page for a browser, else one line of text."""

    def initialize(self, refusal: Refusal, back: str) -> None:
        self.refusal = refusal
        self.back = back

    def prepare(self) -> None:
        self.set_status(self.refusal.status)
        if _wants_page(self.request):
            sentence, back = html.escape(self.refusal.sentence), html.escape(self.back)
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(REFUSAL_PAGE.format(sentence=sentence, back=back))
            return
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{self.refusal.sentence}\n")


class RedirectToStart(tornado.web.RequestHandler):  # type: ignore[misc]
    """Sends a browser from Mage's sign-in form to the first page."""

    def prepare(self) -> None:
        self.redirect("/")


def trigger_tokens() -> list[bytes]:
    """The tokens of all triggers, as Mage's database has them now.

    Mage also writes them into files that it shows like any other file.
    """
    from mage_ai.orchestration.db import safe_db_query

    tokens = safe_db_query(_read_tokens)()
    return [token.encode() for token in tokens if token and len(token) >= SHORTEST_TOKEN]


def without_tokens(text: bytes, tokens: list[bytes]) -> bytes:
    """The text with stars in place of tokens; its length stays the same."""
    for token in sorted(tokens, key=len, reverse=True):
        text = text.replace(token, b"*" * len(token))
    return text


def _read_tokens() -> list[str | None]:
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import PipelineSchedule

    found = db_connection.session.query(PipelineSchedule.token).distinct()
    return [token for (token,) in found]


def _added_to_head(request: HTTPServerRequest) -> bytes:
    signed_in = people.script(request) if request.workspace_person else b""
    return ADDED_TO_HEAD + signed_in


def _wants_page(request: HTTPServerRequest) -> bool:
    """Whether a person's browser opens the address, and not a program or a page's script."""
    return request.method == "GET" and "text/html" in request.headers.get("Accept", "")
