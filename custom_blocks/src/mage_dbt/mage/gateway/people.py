"""Makes the signed-in person a user of Mage's, by e-mail address, at the first visit.

At every visit the role in Mage follows from the role here. Nobody has a password, and the gateway
believes no token of Mage's. It runs in Mage's process, and without a login it does nothing.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from mage_dbt.identity.person import RUNNER, Person
from mage_dbt.identity.role import Role

ROLE_IN_MAGE = {
    Role.VIEWER: "Viewer",
    Role.ANALYST: "Editor",
    Role.OPERATOR: "Editor",  # the runner, not Mage, checks who may do what is dangerous
    Role.OWNER: "Owner",
}

FRESH_SECONDS = 60.0
"""For this long a role is not compared again with Mage's database."""

COOKIE_SECONDS = 30 * 86_400
"""Life of the cookie that tells Mage's pages that somebody is signed in. It opens nothing."""

_known: dict[str, tuple[Role, int, float]] = {}
"""By name: the role of Mage's user, its id, and when that was true."""


def sign_in(request: Any) -> None:
    """Sets the user of a request where Mage looks for it."""
    request.current_user = user_of(request) or _user(RUNNER)


def user_of(request: Any) -> Any:
    """Mage's user for the person who sends a request; None without a login, and for the runner."""
    person = request.workspace_person
    return _user(person) if person else None


def _user(person: Person) -> Any:
    from mage_ai.orchestration.db import safe_db_query

    return safe_db_query(_find)(person)


def _find(person: Person) -> Any:
    from mage_ai.orchestration.db.models import oauth

    known, number, since = _known.get(person.name, (None, 0, 0.0))
    if known is person.role and time.monotonic() - since < FRESH_SECONDS:
        user = oauth.User.query.get(number)
        if user is not None:
            return user
    wanted = oauth.Role.get_role(ROLE_IN_MAGE[person.role])
    if wanted is None:
        oauth.Role.create_default_roles()
        wanted = oauth.Role.get_role(ROLE_IN_MAGE[person.role])
    user = oauth.User.query.filter(oauth.User.email == person.name).first()
    if user is None:
        user = oauth.User.create(email=person.name, username=person.name, roles_new=[wanted])
    elif [role.id for role in user.roles_new] != [wanted.id] or user.roles or user._owner:
        user.update(roles_new=[wanted], roles=None, _owner=False)
    _known[person.name] = (person.role, user.id, time.monotonic())
    return user


def cookie() -> str:
    """The cookie by which Mage's pages know that somebody is signed in. Its token opens nothing."""
    content = {"token": "the proxy has signed you in", "expires": int(time.time()) + COOKIE_SECONDS}
    body = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    return f"oauth_token=e30.{body}.none; Path=/; SameSite=Lax; Max-Age={COOKIE_SECONDS}"


def script(request: Any) -> bytes:
    """A script for the head of a page: it tells Mage's pages who is signed in."""
    user = user_of(request)
    if user is None:
        return b""
    shown = {
        **{"id": user.id, "email": user.email, "username": user.username},
        **{"first_name": user.first_name, "last_name": user.last_name, "avatar": user.avatar},
        **{"owner": bool(user.owner), "roles": user.roles, "roles_display": user.roles_display},
        **{"project_access": user.project_access},
    }
    # Inside a script "<" would be able to end it.
    text = json.dumps(shown).replace("<", "\\u003c")
    return f"<script>localStorage.setItem('current_user', JSON.stringify({text}))</script>".encode()
