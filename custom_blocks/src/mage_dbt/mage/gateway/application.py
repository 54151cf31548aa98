"""Mage's web application behind the gateway. A patch of Mage's server.py starts this one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import tornado.web
from tornado.httputil import HTTPServerRequest

from mage_dbt.errors import Forbidden
from mage_dbt.home import Home
from mage_dbt.identity.origin import refuse_other_page
from mage_dbt.identity.person import Person, is_secret
from mage_dbt.identity.role import Role
from mage_dbt.mage.gateway import parameters, rules
from mage_dbt.mage.gateway.answers import AnswerFilter, RedirectToStart, RefusalHandler
from mage_dbt.mage.gateway.headers import PERSON, ROLE, SECRET
from mage_dbt.mage.gateway.rules import SIGN_IN, Refusal
from mage_dbt.settings import Settings

log = logging.getLogger("mage_dbt.gateway")

LOCAL_HOSTS = ("127.0.0.1", "localhost")


class Application(tornado.web.Application):  # type: ignore[misc]
    """Checks every request, web sockets and files included, before its handler is chosen."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._settings = Settings.load()
        self._secret = Home(self._settings.workspace_home).runner_to_mage_secret
        _read(self._secret)  # without it the start must fail, not each request
        self.add_transform(AnswerFilter)

    def find_handler(self, request: HTTPServerRequest, **more: Any) -> Any:
        request.workspace_person = None
        refusal = self._refusal(request)
        if refusal is not None:
            log.warning("%s %s: %s", request.method, request.path[:200], refusal.sentence)
            # Somebody who is not signed in must come through the public address.
            back = self._settings.mage_address if refusal.status == 401 else "/pipelines"
            arguments = {"refusal": refusal, "back": back}
            return self.get_handler_delegate(request, RefusalHandler, arguments)
        if request.path == SIGN_IN:
            return self.get_handler_delegate(request, RedirectToStart)
        return super().find_handler(request, **more)

    def _refusal(self, request: HTTPServerRequest) -> Refusal | None:
        """The reason why a request is refused; sets `workspace_person` on the request."""
        values = request.headers.get_list
        secret = values(SECRET)
        from_runner = is_secret(secret, _read(self._secret))
        if not from_runner and (secret or self._settings.login_required):
            return Refusal(401, "Nobody is signed in. Come through the workspace's login.")
        names = values(PERSON)
        if from_runner and not names:  # the runner itself: it has no page and no name
            return rules.refusal(request.method, request.path, Role.OWNER, runner=True)
        if refusal := self._refuse_other_page(request):
            return refusal
        role = Role.OWNER
        if from_runner:
            role = Role.named("".join(values(ROLE))) or Role.VIEWER
            request.workspace_person = Person(names[0], role)
        path = "/" if request.path == SIGN_IN else request.path
        return rules.refusal(request.method, path, role) or _refuse_parameters(request)

    def _refuse_other_page(self, request: HTTPServerRequest) -> Refusal | None:
        settings = self._settings
        addresses = [(settings.public_host, settings.public_origin)]
        if not settings.login_required:
            hosts = [f"{name}:{settings.mage_port}" for name in LOCAL_HOSTS]
            addresses += [(host, f"http://{host}") for host in hosts]
        asked = "".join(request.headers.get_list("Host")).lower()
        match = next((pair for pair in addresses if pair[0] == asked), addresses[0])
        try:
            page = rules.is_page(request.path)
            refuse_other_page(request.headers.get_list, request.method or "", *match, page)
        except Forbidden as error:
            return Refusal(403, str(error))
        return None


def _refuse_parameters(request: HTTPServerRequest) -> Refusal | None:
    """Removes unknown parameters from a request; refuses a known one with a wrong value."""
    if rules.is_mages_own(request.path):
        return None  # the page's own script reads them, and its requests pass here too
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
