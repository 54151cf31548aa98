"""Mage's own HTTP API, as far as the workspace uses it: to start, watch and end pipeline runs.

Mage answers 200 with an `error` inside when something fails; here that is an exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx

from mage_dbt.errors import (
    MageUnreachable,
    NotFound,
    Unavailable,
    WorkspaceError,
)
from mage_dbt.home import Home
from mage_dbt.mage.door.headers import SECRET
from mage_dbt.mage.project import API_TRIGGER
from mage_dbt.settings import Settings

SECONDS_TO_ANSWER = 15.0
"""Mage answers within a second when idle; it imports lazily and is slow just after its start."""

MIGRATING = ("no such table", "no such column", "UndefinedTable", "UndefinedColumn")
"""In Mage's words for a table or column its migrations have not made yet, of SQLite and of
PostgreSQL: it answers while they are still at work."""

OTHER_TOKEN = "Invalid token for pipeline schedule"
"""In Mage's words for a trigger whose token somebody has rotated there."""


class MageApi:
    """A client of one workspace's Mage. Close it, or use it in `with`.

    Every call raises Unavailable when Mage does not answer or answers what only a Mage that is
    starting would, NotFound for a thing that is not there, WorkspaceError for any other refusal.
    """

    def __init__(
        self, settings: Settings, home: Home, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._address = f"http://127.0.0.1:{settings.mage_port}"
        self._shown = settings.mage_address
        self._home = home
        self._client = httpx.Client(
            base_url=self._address,
            headers=as_the_runner(home),
            timeout=SECONDS_TO_ANSWER,
            transport=transport,
            verify=False,  # no TLS: reading the system's certificates takes 18 ms
            trust_env=False,  # a proxy in the environment has no business between us and loopback
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def api_trigger(self, pipeline: str) -> int:
        """Mage's number of the pipeline's API trigger, which must be on."""
        answer = self._ask("GET", f"/api/pipelines/{pipeline}/pipeline_schedules")
        for schedule in _part(answer, "pipeline_schedules"):
            if schedule["name"] == API_TRIGGER and schedule["schedule_type"] == "api":
                if schedule["status"] != "active":
                    raise WorkspaceError(
                        f"The trigger {API_TRIGGER} of {pipeline} is switched off in Mage.",
                        f"Switch it on at {self._address}/pipelines/{pipeline}/triggers.",
                    )
                return int(schedule["id"])
        raise Unavailable(
            f"Mage knows no trigger {API_TRIGGER} of {pipeline} yet.",
            "Just after its start Mage needs some seconds to read them.",
        )

    def fire(self, trigger: int, variables: Mapping[str, Any]) -> int:
        """Starts a pipeline by the number of its API trigger; returns that of the pipeline run.

        When no answer comes, Mage may still have started it, or do so when it wakes.
        """
        try:
            token = self._home.mage_trigger_token.read_text()
        except FileNotFoundError:
            raise Unavailable("Mage's project, with the token of its triggers, is gone.") from None
        answer = self._ask(
            "POST",
            f"/api/pipeline_schedules/{trigger}/api_trigger",
            json={"pipeline_run": {"variables": dict(variables)}},
            headers={"Authorization": f"Bearer {token}"},
        )
        return int(_part(answer, "pipeline_run")["id"])

    def pipeline_run(self, number: int) -> Mapping[str, Any]:
        """What Mage says of a pipeline run; `status` is initial, running, completed, failed or
        cancelled."""
        return _part(self._ask("GET", f"/api/pipeline_runs/{number}"), "pipeline_run")

    def cancel(self, number: int) -> None:
        """Ends a pipeline run in Mage. The run in the warehouse is the runner's to cancel."""
        self._act(number, {"status": "cancelled"})

    def retry(self, number: int) -> None:
        """What the button "Retry incomplete blocks" does."""
        self._act(number, {"pipeline_run_action": "retry_blocks"})

    def url(self, pipeline: str, number: int) -> str:
        """The page on which a person sees this pipeline run."""
        return f"{self._shown}/pipelines/{pipeline}/runs/{number}"

    def _act(self, number: int, what: Mapping[str, str]) -> None:
        self._ask(
            "PUT", f"/api/pipeline_runs/{number}", json={"pipeline_run": {"id": number, **what}}
        )

    def _ask(self, method: str, path: str, **more: Any) -> Mapping[str, Any]:
        try:
            answer = self._client.request(method, path, **more)
            data = answer.json()
        except httpx.HTTPError as error:
            raise MageUnreachable(
                f"Mage does not answer at {self._address} ({error or type(error).__name__}).",
                "It may be starting; its log tells.",
            ) from None
        except ValueError:
            raise Unavailable(
                f"Mage answered {answer.status_code} to {method} {path}, and not in JSON."
            ) from None
        refused = data.get("error") if isinstance(data, dict) else None
        if refused or answer.is_error:
            _refuse(method, path, answer.status_code, refused)
        return data


def as_the_runner(home: Home) -> dict[str, str]:
    """The header that Mage knows the runner by: it answers its API triggers to nobody else, and
    with a login on nothing at all. Empty where the secret is missing; Mage then refuses."""
    try:
        return {SECRET: home.runner_to_mage_secret.read_text().strip()}
    except FileNotFoundError:
        return {}


def _part(answer: Mapping[str, Any], name: str) -> Any:
    if name not in answer:
        raise WorkspaceError(f"Mage's answer has no {name!r}.", f"It has {', '.join(answer)}.")
    return answer[name]


def _refuse(method: str, path: str, status: int, error: Any) -> NoReturn:
    """Raises for what Mage refused. Its `exception` is the sentence; a traceback may follow it."""
    told = error if isinstance(error, dict) else {"message": str(error or "")}
    code = told.get("code") or status
    sentence = str(told.get("exception") or told.get("message") or "no reason given").strip()
    message = f"Mage refused {method} {path} ({code}): {sentence.splitlines()[0]}"
    if any(sign in sentence for sign in MIGRATING):
        raise Unavailable(
            "Mage is still making its database.", "It answers before it has all of it."
        )
    if OTHER_TOKEN in sentence:
        raise WorkspaceError(
            message, "Somebody has rotated the token in Mage; the next start puts ours back."
        )
    raise NotFound(message) if code == 404 else WorkspaceError(message)
