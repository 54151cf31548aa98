"""Mage's web application with the door before it; a patch of Mage's server.py makes it this one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import tornado.web
from tornado.httputil import HTTPHeaders, HTTPServerRequest

from mage_dbt.errors import Forbidden
from mage_dbt.home import Home
from mage_dbt.identity.origin import refuse_other_page
from mage_dbt.identity.person import Person, is_secret
from mage_dbt.identity.role import Role
from mage_dbt.mage.door import pages, parameters, people, rules, tokens
from mage_dbt.mage.door.headers import PERSON, ROLE, SECRET
from mage_dbt.mage.door.rules import SIGN_IN, Refusal
from mage_dbt.settings import Settings

log = logging.getLogger("mage_dbt.door")

LOCAL_HOSTS = ("127.0.0.1", "localhost")

HEAD = b"<head>"
"""Where a page of Mage's is told what `pages` has to say."""


class Application(tornado.web.Application):  # type: ignore[misc]
    """Every request, web sockets and files included, is looked at before its handler is chosen."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._settings = Settings.load()
        self._secret = Home(self._settings.workspace_home).runner_to_mage_secret
        _read(self._secret)  # without it a start must fail, not each request
        self.add_transform(SafeHeaders)

    def find_handler(self, request: HTTPServerRequest, **more: Any) -> Any:
        request.workspace_person = None
        refused = self._refusal(request)
        if refused is not None:
            log.warning("%s %s: %s", request.method, request.path[:200], refused.sentence)
            # Who is not signed in comes by the address that people know.
            back = self._settings.mage_address if refused.status == 401 else "/pipelines"
            told = {"refusal": refused, "back": back}
            return self.get_handler_delegate(request, Refused, told)
        if request.path == SIGN_IN:
            return self.get_handler_delegate(request, ToTheBeginning)
        return super().find_handler(request, **more)

    def _refusal(self, request: HTTPServerRequest) -> Refusal | None:
        """Decides, and notes on the request who it is from."""
        values = request.headers.get_list
        secret = values(SECRET)
        ours = is_secret(secret, _read(self._secret))
        if not ours and (secret or self._settings.login_required):
            return Refusal(401, "Nobody is signed in. Come through the workspace's login.")
        names = values(PERSON)
        if ours and not names:  # the runner itself; it has no page and no name
            return rules.refusal(request.method, request.path, Role.OWNER, runner=True)
        if refused := self._refuse_other_page(request):
            return refused
        role = Role.OWNER
        if ours:
            role = Role.named("".join(values(ROLE))) or Role.VIEWER
            request.workspace_person = Person(names[0], role)
        path = "/" if request.path == SIGN_IN else request.path
        return rules.refusal(request.method, path, role) or _refuse_parameters(request)

    def _refuse_other_page(self, request: HTTPServerRequest) -> Refusal | None:
        settings = self._settings
        addresses = [(settings.public_host, settings.public_origin)]
        if not settings.login_required:
            here = [f"{name}:{settings.mage_port}" for name in LOCAL_HOSTS]
            addresses += [(host, f"http://{host}") for host in here]
        host = "".join(request.headers.get_list("Host")).lower()
        match = next((one for one in addresses if one[0] == host), addresses[0])
        try:
            page = rules.is_page(request.path)
            refuse_other_page(request.headers.get_list, request.method or "", *match, page)
        except Forbidden as error:
            return Refusal(403, str(error))
        return None


class SafeHeaders(tornado.web.OutputTransform):  # type: ignore[misc]
    """On every answer: nothing that lets another page in, no frame around ours, for a viewer no
    trigger's token; on a page, what `pages` adds."""

    def __init__(self, request: HTTPServerRequest) -> None:
        self._request = request
        self._hidden: list[bytes] = []

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        if status_code == 200 and HEAD in chunk and "Content-Length" in headers:
            chunk = chunk.replace(HEAD, HEAD + pages.head(self._request), 1)
            headers["Content-Length"] = str(len(chunk))
            headers["Cache-Control"] = "no-store"
            headers.pop("Etag", None)  # of the page without it
            if self._request.workspace_person:
                headers.add("Set-Cookie", people.cookie())
        for name in [name for name in headers if name.lower().startswith("access-control-")]:
            del headers[name]
        person = self._request.workspace_person
        if person and person.role < Role.ANALYST and not rules.is_mages_own(self._request.path):
            self._hidden = tokens.all_tokens()
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "SAMEORIGIN"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return status_code, headers, tokens.without(chunk, self._hidden)

    def transform_chunk(self, chunk: bytes, finishing: bool) -> bytes:
        return tokens.without(chunk, self._hidden)


class Refused(tornado.web.RequestHandler):  # type: ignore[misc]
    """Answers with the refusal, whatever was asked; a browser with a page that leads back."""

    def initialize(self, refusal: Refusal, back: str) -> None:
        self.refusal = refusal
        self.back = back

    def prepare(self) -> None:
        self.set_status(self.refusal.status)
        if pages.wants_page(self.request):
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(pages.closed(self.refusal.sentence, self.back))
            return
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{self.refusal.sentence}\n")


class ToTheBeginning(tornado.web.RequestHandler):  # type: ignore[misc]
    def prepare(self) -> None:
        self.redirect("/")


def _refuse_parameters(request: HTTPServerRequest) -> Refusal | None:
    """Takes out of a request what Mage is not to see; refuses a value that is not of its kind."""
    if rules.is_mages_own(request.path):
        return None  # the page's own script reads them, and asks the API in its turn
    for name, values in list(request.query_arguments.items()):
        if not parameters.known(name):
            if name not in parameters.UNUSED:
                log.warning("%s: without the parameter %r", request.path[:200], name[:100])
            request.query_arguments.pop(name)
            request.arguments.pop(name, None)
        elif sentence := parameters.wrong(name, values):
            return Refusal(400, sentence)
    return None


def _read(path: Path) -> str:
    return path.read_text().strip()
