"""The person who is signed in is a user of Mage's: made at the first visit, by e-mail address.

The role in Mage follows from the role here at every visit; nobody has a password, and no token of
Mage's is believed. Runs in Mage's process, and only with a login on does it do anything.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from mage_dbt.identity.person import OURS, Person
from mage_dbt.identity.role import Role

RUNNER = Person(f"runner{OURS}", Role.OWNER)
"""The workspace's own runner, where Mage wants a user."""

ASKED_BY = "asked_by"
"""The variable that tells a block who has asked for its run."""

CANCELLED_BY = "cancelled_by"
"""The variable that tells the runner who has cancelled a pipeline run."""

IN_MAGE = {
    Role.VIEWER: "Viewer",
    Role.ANALYST: "Editor",
    Role.OPERATOR: "Editor",  # what is dangerous is the runner's, not Mage's
    Role.OWNER: "Owner",
}

FRESH_SECONDS = 60.0
"""For so long a role is not compared again with what Mage's database has."""

LASTS_SECONDS = 30 * 86_400
"""Of the cookie that tells Mage's pages that somebody is signed in. It opens nothing."""

_known: dict[str, tuple[Role, int, float]] = {}
"""By name: the role Mage's user has, its number, and when that was true."""


def sign_in(request: Any) -> None:
    """Makes the request that person's, where Mage looks for it."""
    request.current_user = user_of(request) or _user(RUNNER)


def user_of(request: Any) -> Any:
    """Mage's user of the person a request is from; None without a login, and for the runner."""
    person = request.workspace_person
    return _user(person) if person else None


def _user(person: Person) -> Any:
    from mage_ai.orchestration.db import safe_db_query

    return safe_db_query(_find)(person)


def _find(person: Person) -> Any:
    from mage_ai.orchestration.db.models import oauth

    role, number, since = _known.get(person.name, (None, 0, 0.0))
    if role is person.role and time.monotonic() - since < FRESH_SECONDS:
        user = oauth.User.query.get(number)
        if user is not None:
            return user
    right = oauth.Role.get_role(IN_MAGE[person.role])
    if right is None:
        oauth.Role.create_default_roles()
        right = oauth.Role.get_role(IN_MAGE[person.role])
    user = oauth.User.query.filter(oauth.User.email == person.name).first()
    if user is None:
        user = oauth.User.create(email=person.name, username=person.name, roles_new=[right])
    elif [one.id for one in user.roles_new] != [right.id] or user.roles or user._owner:
        user.update(roles_new=[right], roles=None, _owner=False)
    _known[person.name] = (person.role, user.id, time.monotonic())
    return user


def by_hand(payload: dict[str, Any], user: Any) -> dict[str, Any]:
    """What somebody asks Mage to run on one of its pages, with the person's name among the
    variables. A claim, like everything a block says; a trigger has the name of who made it. Without
    a login the name is empty, and still says that it was no schedule of ours (`mage/begun.py`)."""
    named = user is not None and user.email != RUNNER.name
    variables = {ASKED_BY: "", **(payload.get("variables") or {})}
    return payload | {"variables": variables | ({ASKED_BY: user.email} if named else {})}


def cancels(run: Any, user: Any) -> None:
    """Notes on a pipeline run who cancels it, for the runner, which then ends the run itself."""
    if user is not None and user.email != RUNNER.name:
        run.update(variables={**(run.variables or {}), CANCELLED_BY: user.email})


def cookie() -> str:
    """What Mage's pages look for to know that somebody is signed in: a token for nothing."""
    told = {"token": "the proxy has signed you in", "expires": int(time.time()) + LASTS_SECONDS}
    body = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
    return f"oauth_token=e30.{body}.none; Path=/; SameSite=Lax; Max-Age={LASTS_SECONDS}"


def script(request: Any) -> bytes:
    """For the head of a page: tells Mage's pages who is signed in, for what they show and offer."""
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
