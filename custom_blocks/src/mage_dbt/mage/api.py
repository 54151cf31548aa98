"""A client of Mage's HTTP API: it starts, watches and ends pipeline runs.

When something fails, Mage answers 200 with an `error` inside; here that is an exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx

from mage_dbt.errors import MageUnreachable, NotFound, Unavailable, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.mage.gateway.headers import SECRET
from mage_dbt.mage.project import API_TRIGGER
from mage_dbt.settings import Settings

SECONDS_TO_ANSWER = 15.0
"""An idle Mage answers within a second. Just after its start it imports modules and is slow."""

MIGRATING = ("no such table", "no such column", "UndefinedTable", "UndefinedColumn")
"""Parts of Mage's errors about a table or column that its migrations have not made yet, in SQLite
and PostgreSQL. Mage answers while its migrations run."""

OTHER_TOKEN = "Invalid token for pipeline schedule"
"""Part of Mage's error about a trigger whose token somebody has rotated in Mage."""


class MageApi:
    """A client of one workspace's Mage. Close it, or use it in `with`.

    Every call raises Unavailable when Mage does not answer or is still starting, NotFound for a
    thing that does not exist, and WorkspaceError for any other refusal.
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
        """Closes its connections."""
        self._client.close()

    def answers(self, seconds: float) -> bool:
        """Whether Mage answers within that time; while it starts, it does not."""
        try:
            return not self._client.get("/api/statuses", timeout=seconds).is_server_error
        except httpx.HTTPError:
            return False

    def api_trigger(self, pipeline: str) -> int:
        """The id in Mage of the pipeline's API trigger, which must be on."""
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
        """Starts a pipeline by the id of its API trigger; returns the id of the pipeline run.

        When no answer comes, Mage may have started the pipeline all the same, or start it later.
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
        """A pipeline run by its id, as Mage's JSON.

        `status` is initial, running, completed, failed or cancelled.
        """
        return _part(self._ask("GET", f"/api/pipeline_runs/{number}"), "pipeline_run")

    def cancel(self, number: int) -> None:
        """Cancels a pipeline run in Mage. The runner cancels the run in the warehouse."""
        self._act(number, {"status": "cancelled"})

    def retry(self, number: int) -> None:
        """Does what the button "Retry incomplete blocks" does."""
        self._act(number, {"pipeline_run_action": "retry_blocks"})

    def url(self, pipeline: str, number: int) -> str:
        """The address of the page that shows this pipeline run."""
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
    """The headers by which Mage's gateway knows the runner; none when the secret is missing.

    Without them Mage refuses API triggers, and with a login on it refuses everything.
    """
    try:
        return {SECRET: home.runner_to_mage_secret.read_text().strip()}
    except FileNotFoundError:
        return {}


def _part(answer: Mapping[str, Any], name: str) -> Any:
    if name not in answer:
        raise WorkspaceError(f"Mage's answer has no {name!r}.", f"It has {', '.join(answer)}.")
    return answer[name]


def _refuse(method: str, path: str, status: int, error: Any) -> NoReturn:
    """Raises Mage's refusal. `exception` has its sentence, and perhaps a traceback after it."""
    fields = error if isinstance(error, dict) else {"message": str(error or "")}
    code = fields.get("code") or status
    sentence = str(fields.get("exception") or fields.get("message") or "no reason given").strip()
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
