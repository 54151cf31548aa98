"""What all forms that begin a run have in common: the plan that is shown, and the run of it.

A form holds the digest of the plan on its page, so a run does what was shown or nothing. It also
holds an idempotency key, so pressing its button twice is one run.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mage_dbt.base.lists import listed, names_of
from mage_dbt.base.text import spelled
from mage_dbt.errors import (
    Conflict,
    Forbidden,
    KeyReused,
    LedgerUnreachable,
    NotFound,
    NothingLeft,
    PlanChanged,
    QueueFull,
    RequestError,
    Unavailable,
    WorkspaceError,
    did_you_mean,
)
from mage_dbt.identity import rights
from mage_dbt.identity.role import Role
from mage_dbt.model import counts, problems, variables
from mage_dbt.model.commit import Model
from mage_dbt.model.folded import TESTS
from mage_dbt.model.plan import Plan, PlannedNode
from mage_dbt.model.request import Request, RunRequest
from mage_dbt.model.run import PASSED, RUN_ID
from mage_dbt.server.pages import sentences
from mage_dbt.server.pages.site import Page, Site
from mage_dbt.server.requests import request_of_page, require_right, shown_plan

SHOWN_AGAIN = (RequestError, Conflict, Unavailable)
"""What a reader can do something about: the form is shown again, with the reason."""

REASONS: Mapping[type[WorkspaceError], str] = {
    PlanChanged: "plan changed",
    KeyReused: "sent before",
    QueueFull: "queue full",
    Forbidden: "forbidden",
    NothingLeft: "nothing left",
}
"""The refusals for which the page has words of its own."""


@dataclass(frozen=True)
class Refusal:
    """Why there is no plan, or no run."""

    error: WorkspaceError

    @property
    def kind(self) -> str:
        """Which words of the page tell it; empty for the error's own."""
        return REASONS.get(type(self.error), "")

    @property
    def text(self) -> str:
        return self.error.message

    @property
    def hint(self) -> str:
        """What to do next. That of a Conflict names commands of the tool; the page has links."""
        return "" if isinstance(self.error, Conflict) else sentences.for_people(self.error.hint)

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs that it names."""
        return tuple(dict.fromkeys(RUN_ID.findall(self.error.message)))


@dataclass(frozen=True)
class Asked:
    """A request of the page with its plan, or with the reason why there is none."""

    request: Request | None = None
    plan: Plan | None = None
    subject: str = ""
    """Of the plan's commit."""
    is_newest: bool = True
    """Whether the plan's commit is the live one."""
    refused: Refusal | None = None
    not_begun: Refusal | None = None
    """Why the button did nothing, when it was pressed."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What was written into the form that did nothing."""
    comes: bool = False
    """Whether the plan is still being made, and comes as a live part."""

    @property
    def status(self) -> int:
        """Of the answer over HTTP."""
        reason = self.not_begun or self.refused
        return reason.error.status if reason else 200

    @property
    def data(self) -> dict[str, Any]:
        """For the address with `.json`: the plan, or the problem."""
        if self.refused is not None:
            return problems.problem(self.refused.error)
        assert self.plan is not None and self.request is not None
        asked = self.request.what()
        asked["variables"] = variables.shown(asked["variables"])
        return {"request": asked, "plan": shown_plan(self.plan)}

    def ends_at(self, now: datetime) -> datetime | None:
        """When a run of the plan would be over if it began now; None where nothing tells."""
        seconds = self.plan.estimated_seconds if self.plan else None
        return None if seconds is None else now + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Steps:
    """How many nodes of each kind a plan has, as dbt counts them."""

    failed: int = 0
    """Models, seeds and snapshots that failed in what is run again."""
    waited: int = 0
    """Those that were skipped there, or never reached."""
    others: int = 0
    """Those that had passed, and all of what is no rerun."""
    tests: int = 0
    hooks: int = 0

    @property
    def builds(self) -> int:
        return self.failed + self.waited + self.others

    @classmethod
    def of(cls, plan: Plan, before: Mapping[str, str] | None = None) -> Steps:
        """The steps of a plan. For a rerun `before` has the last status of each node in what is
        run again; a node without one was never reached."""
        found = {"failed": 0, "waited": 0, "others": 0, "tests": 0}
        for node in plan.nodes:
            if counts.counts(node.kind):
                found[_group(node, before)] += 1
        return cls(**found, hooks=plan.hooks)


def _group(node: PlannedNode, before: Mapping[str, str] | None) -> str:
    if node.type in TESTS:
        return "tests"
    status = "success" if before is None else before.get(node.node, "skipped")
    return "others" if status in PASSED else "waited" if status == "skipped" else "failed"


def new_key() -> str:
    """An idempotency key for one form on one page."""
    return secrets.token_urlsafe(16)


PlanOf = Callable[[Mapping[str, Any]], Asked]
"""Gives the plan of a request with these fields of a RunRequest."""

Wanted = Callable[[Mapping[str, str]], Mapping[str, Any]]
"""Gives the fields of the RunRequest that a form asks for."""

Make = Callable[[Mapping[str, str], PlanOf], Page]
"""Makes a form's page from the fields of its address, or of the form that was sent."""


def plan(site: Site, http: HttpRequest, asked: Mapping[str, Any]) -> Asked:
    """What a request with these fields of a RunRequest would do now.

    It takes a second or some, and a dbt: so it needs the right to run something.
    """
    try:
        rights.require(site.reader(http).role, Role.ANALYST, "A plan")
        request = request_of_page(http, RunRequest.read(asked))
        require_right(http, request, site.ledger)
        found = site.runner.plan(request)
    except (*SHOWN_AGAIN, Forbidden) as error:
        return Asked(refused=Refusal(error))
    live = site.runner.commits.live
    return Asked(
        request,
        found,
        subject=site.runner.commits.subject(found.commit),
        is_newest=live is not None and live.sha == found.commit,
    )


def begin(
    site: Site,
    http: HttpRequest,
    fields: Mapping[str, str],
    wanted: Wanted,
    make: Make,
    needs_digest: bool,
) -> Response | Page:
    """Begins the run that a form asks for and leads to its page.

    `wanted` gives the fields of its RunRequest. What stands in the way is shown on the form's page,
    which `make` makes: also that the form holds no key, or no digest of a plan that was shown.
    """
    try:
        asked = {
            name: value for name, value in wanted(fields).items() if value not in (None, "", False)
        }
        if not fields.get("key") or (needs_digest and not fields.get("digest")):
            raise RequestError(
                "The form does not hold the plan that you saw.",
                "Look at the plan below, and press the button there.",
            )
        more = {name: fields[name] for name in ("why", "digest") if fields.get(name)}
        request = request_of_page(http, RunRequest.read({**asked, **more}), fields.get("key", ""))
        require_right(http, request, site.ledger)
        run, _ = site.runner.submit(request)
    except LedgerUnreachable:
        raise  # the form's page cannot be made without it
    except SHOWN_AGAIN as error:
        again = make(fields, partial(plan, site, http))
        return with_reason(again, error, fields)
    return site.see(http, f"/runs/{run.id}")


def with_reason(page: Page, error: WorkspaceError, fields: Mapping[str, str]) -> Page:
    """A form's page with the reason why its button did nothing, and with what was written."""
    asked: Asked = page.values["asked"]
    refused = asked.refused
    if refused is not None and refused.text == error.message:
        return page
    shown = replace(asked, not_begun=Refusal(error), fields=fields)
    return replace(page, values={**page.values, "asked": shown}, status=error.status)


def names_in(fields: Mapping[str, str]) -> list[str]:
    """The models that an address or a form names, as one list (`base/lists.py`). Raises
    RequestError without any."""
    names = names_of(fields.get("model", ""))
    if not names:
        raise RequestError("Name at least one model.")
    return names


def swap_values(asked: Asked, names: Mapping[str, str]) -> dict[str, Any]:
    """What the page of a refresh or of an undo shows. `names` has the name of each model by what an
    address calls it."""
    previews = asked.plan.refresh if asked.plan else ()
    return {
        "asked": asked,
        "names": names,
        "given": listed(names),
        "typed": ", ".join(map(spelled, names.values())),
        "previews": previews,
        "refusals": [refusal for preview in previews for refusal in preview.refusals],
    }


def model_named(site: Site, name: str) -> Model:
    """The model, seed or snapshot of the live commit with this unique id or name, spelled or not.

    Raises NotFound, and RequestError when several have the name.
    """
    models = site.runner.models()
    found = [model for model in models if model.node == name]
    found = found or [model for model in models if model.name == name]
    found = found or [model for model in models if name in map(spelled, (model.node, model.name))]
    if len(found) > 1:
        raise RequestError(
            f"Several are called {name!r}.", f"Name one: {', '.join(m.node for m in found)}."
        )
    if not found:
        live = site.runner.commits.newest().sha[:7]
        raise NotFound(
            f"There is no model, seed or snapshot {name[:200]!r} in dbt-metric at {live}.",
            did_you_mean(name, (model.name for model in models)),
        )
    return found[0]


def short_name(site: Site, model: Model) -> str:
    """The model's name where that is enough to name it in a request, else its unique id; spelled
    where a character of it does not print."""
    alike = [other for other in site.runner.models() if other.name == model.name]
    return spelled(model.name if len(alike) == 1 else model.node)


def require_names(given: str, wanted: Sequence[str]) -> None:
    """Raises RequestError unless somebody has typed the names of all that they are about to change,
    with commas between them."""
    names = ", ".join(map(spelled, wanted))
    if _typed(given) != _typed(names):
        raise RequestError(
            f"You typed {given.strip()[:100]!r}, and this would change {names}.",
            f"Type {names} to go on.",
        )


def _typed(names: str) -> list[str]:
    """Names with commas between them, as somebody types them who sees them: a page shows any
    white space as one space. Its script judges in the same way (`page.js`)."""
    return [" ".join(name.split()) for name in names.split(",")]
