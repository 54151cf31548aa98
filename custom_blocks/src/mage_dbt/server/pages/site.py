"""The site: what every page has in common, and all their addresses."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import anyio.to_thread
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, RedirectResponse, Response

from mage_dbt.errors import LedgerUnreachable, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.identity import rights
from mage_dbt.identity.origin import READING
from mage_dbt.identity.role import Role
from mage_dbt.ledger import Ledger
from mage_dbt.model import problems
from mage_dbt.runner.catalogue import Catalogue
from mage_dbt.runner.service import Runner
from mage_dbt.server.caller import caller_of
from mage_dbt.server.large_json import LargeJson
from mage_dbt.server.packing import takes_gzip
from mage_dbt.server.pages import assets, languages, protection, sentences
from mage_dbt.server.pages.formats import Formats
from mage_dbt.server.pages.forms import TOKEN_FIELD, Forms
from mage_dbt.server.pages.reader import Reader
from mage_dbt.server.pages.rendering import render
from mage_dbt.server.pages.strip import Strip
from mage_dbt.settings import Settings

JSON_SUFFIX = ".json"

NOW_JSON = "/now.json"
"""The first page's; its own address has no name to add a suffix to."""

DOTS = frozenset((".", ".."))
"""Segments of a path by which a browser goes up."""

LEDGER_SECONDS = 3.0
"""How long whoever has pressed a button waits to hear that PostgreSQL does not answer."""

SMALLEST_PACKED = 2_000
"""Bytes of a page that is worth compressing."""


@dataclass(frozen=True)
class Page:
    """One page's answer: the template with its values, and the same as data."""

    template: str
    data: Any
    """Plain JSON data, for the address with `.json`."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """For the template, beside `data`."""
    status: int = 200
    frames: bool = False
    """Whether it shows another answer of ours in a frame."""


class Site:
    """The pages of one runner. `secret` is the workspace's; forms' tokens derive from it."""

    def __init__(
        self, runner: Runner, ledger: Ledger, settings: Settings, home: Home, secret: str
    ) -> None:
        self.runner = runner
        self.ledger = ledger
        self.settings = settings
        self.home = home
        self.zone = ZoneInfo(settings.daily_build_timezone)
        self.forms = Forms(secret)
        self.languages = languages.Choices(home.page_languages)
        self.catalogue = Catalogue(runner, ledger, settings.dbt_metric_subdir)

    # ---------------------------------------------------------------- answers

    def page(
        self, router: APIRouter, path: str, answer: Callable[..., Page], as_json: str = ""
    ) -> None:
        """Adds a page's address, and the one that gives the same as JSON.

        `answer` is a function of the call and of the path's parameters, which begin with it.
        """

        async def html(http: HttpRequest) -> Response:
            page = await run_in_threadpool(answer, http, **http.path_params)
            return await run_in_threadpool(self.html, http, page)

        async def data(http: HttpRequest) -> Response:
            page = await run_in_threadpool(answer, http, **http.path_params)
            return LargeJson(page.data, page.status, protection.HEADERS)

        # The more exact address first: `/runs/{run}.json` is no run called `x.json`.
        json_path = as_json or path + JSON_SUFFIX
        router.add_api_route(json_path, data, methods=[*READING], include_in_schema=False)
        router.add_api_route(path, html, methods=[*READING], include_in_schema=False)

    def action(
        self,
        router: APIRouter,
        path: str,
        act: Callable[..., Response | Page],
        least: Role = Role.ANALYST,
        needs_ledger: bool = True,
    ) -> None:
        """Adds an address that takes a form. `act` gets the call, its fields, and the path's
        parameters; it answers with a page, or leads to another (`see`).

        While PostgreSQL is away, `act` is not called, and the answer is the form to be sent again.
        """

        async def post(http: HttpRequest) -> Response:
            reader = self.reader(http)
            fields = await self.forms.read(http, reader.name)
            rights.require(reader.role, least, "This")
            if needs_ledger and not await self._ledger_answers():
                return await run_in_threadpool(self._send_again, http, fields)
            try:
                found = await run_in_threadpool(act, http, fields, **http.path_params)
            except LedgerUnreachable:
                return await run_in_threadpool(self._send_again, http, fields, begun=True)
            return found if isinstance(found, Response) else self.html(http, found)

        router.add_api_route(path, post, methods=["POST"], include_in_schema=False)

    def see(self, http: HttpRequest, path: str, **query: str) -> RedirectResponse:
        """Leads to another page after a form was taken."""
        return RedirectResponse(self.address(http, path, **query), 303, protection.HEADERS)

    def html(self, http: HttpRequest, page: Page) -> Response:
        nonce = protection.new_nonce()
        values = self._values(http, nonce)
        shown = {**values, "data": page.data, **page.values}
        text = render(values["language"], page.template, shown)
        body = text.encode()
        headers = protection.headers(nonce, page.frames)
        if len(body) > SMALLEST_PACKED and takes_gzip(http):
            # Compressing tells nothing: the form's token, the one secret, is another each time.
            body = gzip.compress(body, 5)
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(body, page.status, headers, "text/html; charset=utf-8")

    def fragment(self, http: HttpRequest, template: str, values: Mapping[str, Any]) -> str:
        """A part of a page, for a live update: it has no forms' scripts and no `hx-` attributes."""
        common = self._values(http, "")
        return render(common["language"], template, {**common, **values})

    def not_sent(self, http: HttpRequest) -> Response:
        """For who looks at an address that takes a form.

        A sign-in in between leads there: the proxy keeps the address of a form, and not the form.
        """
        run = http.query_params.get("run", "")
        of_settings = http.scope["path"].startswith("/settings/")
        back = f"/runs/{run}" if run else "/settings" if of_settings else "/"
        answer = self.html(http, Page("not_sent.html", None, {"back": back}, 405))
        answer.headers["Allow"] = "POST"
        return answer

    async def _ledger_answers(self) -> bool:
        """Whether PostgreSQL answers soon. A thread that waits for a frozen one is left behind."""
        with anyio.move_on_after(LEDGER_SECONDS):
            return await anyio.to_thread.run_sync(
                self.ledger.answers, LEDGER_SECONDS, abandon_on_cancel=True
            )
        return False

    def _send_again(
        self, http: HttpRequest, fields: Mapping[str, str], begun: bool = False
    ) -> Response:
        """For whom PostgreSQL was away: the same form, to be sent again.

        A key in it makes that safe. `begun` says that PostgreSQL went away only after something may
        have been done.
        """
        to = self.address(http, http.scope["path"], **http.query_params)
        error = LedgerUnreachable("PostgreSQL does not answer.")
        shown = {"fields": fields, "begun": begun, "to": to}
        answer = self.html(http, Page("send_again.html", None, shown, error.status))
        answer.headers.update(problems.headers(error))
        return answer

    def problem(self, http: HttpRequest, error: WorkspaceError) -> Response:
        """An error as a page, or as a problem at an address that gives JSON."""
        if http.url.path.endswith(JSON_SUFFIX):
            problem = problems.problem(error, problems.instance_of(http.url.path))
            return JSONResponse(problem, error.status, problems.headers(error), problems.MEDIA_TYPE)
        hint = sentences.for_people(error.hint)
        shown = {"title": problems.title_of(type(error)), "error": error, "hint": hint}
        answer = self.html(http, Page("problem.html", None, shown, error.status))
        answer.headers.update(problems.headers(error))
        return answer

    # ------------------------------------------------------------- for pages

    def reader(self, http: HttpRequest) -> Reader:
        return Reader(caller_of(http.scope))

    def formats(self, http: HttpRequest) -> Formats:
        reader = self.reader(http)
        chosen = self.languages.of(reader.name) if reader.signed_in else ""
        language = languages.language_of(http, chosen)
        texts = languages.translations(language)
        return Formats(language, self.zone, datetime.now(UTC), texts)

    def address(self, http: HttpRequest, path: str, /, **query: object) -> str:
        """A page's address as this caller's browser has to ask for it; without empty parameters.

        A path with a segment `.` or `..` may come from a link that somebody made: a browser would
        follow it out of the page's own addresses, so it becomes the first page's.
        """
        prefix = caller_of(http.scope).prefix
        path = "/" if DOTS.intersection(path.split("/")) else path
        asked = {name: value for name, value in query.items() if value not in (None, "")}
        return f"{prefix}{quote(path, safe='/.')}" + (f"?{urlencode(asked)}" if asked else "")

    def daily_build_by(self, until: datetime | None) -> datetime | None:
        """When the next daily build begins, if that is until then; None without a moment."""
        if until is None:
            return None
        now, schedule = datetime.now(UTC), self.runner.schedule
        try:
            coming = schedule.current(now).coming(now, schedule.taken, 1)
        except LedgerUnreachable:
            return None
        return next((due for due in coming if due <= until), None)

    @cached_property
    def mage_address(self) -> str:
        """Mage, as people reach it."""
        return self.settings.mage_address

    def _values(self, http: HttpRequest, nonce: str) -> dict[str, Any]:
        """What every template may use."""
        formats = self.formats(http)
        reader = self.reader(http)
        return {
            "language": formats.language,
            "languages": languages.LANGUAGES,
            "url": lambda path, /, **query: self.address(http, path, **query),
            "asset": lambda name: self.address(http, assets.address(name)),
            "here": _here(http),
            "query": dict(http.query_params),
            "nonce": nonce,
            "token": self.forms.token(reader.name),
            "token_field": TOKEN_FIELD,
            "reader": reader,
            "strip": Strip.of(self.runner, self.settings.dbt_metric_ref, self.zone),
            "mage": self.mage_address,
            "now": formats.now,
            "daily_build_by": self.daily_build_by,
            "zone_name": formats.zone_name,
            "zone_short": formats.zone_short,
            "formats": formats,
        }


def _here(http: HttpRequest) -> str:
    """The page to come back to; a form's own address has none."""
    if http.method not in READING:
        return "/"
    query = http.url.query
    return str(http.scope["path"]) + (f"?{query}" if query else "")
