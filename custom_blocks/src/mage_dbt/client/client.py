"""The client of the runner's API, for Mage's blocks and the command-line tool.

It imports neither dbt nor a database driver. It survives a restart of the runner: it goes on to
follow a run at the event where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from mage_dbt.errors import RunnerUnreachable, Unavailable, WorkspaceError
from mage_dbt.identity.ticket import HEADER as TICKET
from mage_dbt.model import problems
from mage_dbt.model.commit import Model
from mage_dbt.model.explanation import Explanation
from mage_dbt.model.now import Now
from mage_dbt.model.plan import Plan
from mage_dbt.model.request import Request
from mage_dbt.model.run import Event, Run
from mage_dbt.model.schedule import Outlook
from mage_dbt.model.status import Status
from mage_dbt.model.story import Chapter

ANSWER_SECONDS = 30.0

PLAN_SECONDS = 600.0
"""A plan starts dbt, may wait for other plans, and may have to parse a named commit."""

SILENCE_SECONDS = 30.0
"""A stream sends something every 10 s; after three times that without data it is dead."""

PATIENCE_SECONDS = 120.0
"""How long a follower waits for the runner to come back."""

RETRY_SECONDS = 1.0


class RunnerClient:
    """Talks to the runner on its Unix socket. Raises the error the runner answered with."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._http = httpx.Client(
            # No certificates: a Unix socket has no TLS, and reading the system's takes 18 ms.
            transport=httpx.HTTPTransport(uds=str(socket), verify=False),
            verify=False,
            base_url="http://runner",
            timeout=ANSWER_SECONDS,
        )

    def ping(self) -> bool:
        """Whether the runner answers."""
        try:
            return bool(self._call("GET", "/ping") == "pong")
        except RunnerUnreachable:
            return False

    def status(self) -> Status:
        return Status.from_json(self._call("GET", "/v1/status"))

    def now(self) -> Now:
        """How the daily build stands."""
        return Now.from_json(self._call("GET", "/v1/now"))

    def schedule(self) -> Outlook:
        """When the daily build begins, and what follows from that."""
        return Outlook.from_json(self._call("GET", "/v1/schedule"))

    def change_schedule(self, **wanted: str | bool) -> Outlook:
        """Changes the daily build's time or pause; `wanted`: fields as docs/api.md lists them."""
        return Outlook.from_json(self._call("PUT", "/v1/schedule", wanted))

    def models(self, search: str = "", limit: int = 10_000) -> list[Model]:
        """Models, seeds and snapshots of the live commit, the best match of `search` first."""
        parameters = {"search": search, "limit": limit}
        found = self._call("GET", "/v1/models", parameters=parameters)["models"]
        return [Model(**model) for model in found]

    def plan(self, request: Request) -> Plan:
        """What a run of the request would do now."""
        asked = request.to_body()
        return Plan.from_json(self._call("POST", "/v1/plans", asked, PLAN_SECONDS))

    def submit(self, request: Request, ticket: str = "") -> Run:
        """Asks for a run. With a key it is safe to repeat the call.

        `ticket` proves the cause schedule or start (`identity/ticket.py`).
        """
        headers = {TICKET: ticket} if ticket else {}
        asked = request.to_body()
        return Run.from_json(self._call("POST", "/v1/runs", asked, PLAN_SECONDS, headers=headers))

    def submit_patiently(
        self, request: Request, say: Callable[[str], None], ticket: str = ""
    ) -> Run:
        """As `submit`, but waits while the runner is away; only for a request with a key."""
        assert request.key
        return self._patiently(lambda: self.submit(request, ticket), say)

    def run(self, run: str) -> Run:
        return Run.from_json(self._call("GET", f"/v1/runs/{run}"))

    def story(self, run: str) -> list[Chapter]:
        """The run, those it repeats and those that repeat it, oldest first, a sentence each."""
        return [
            Chapter.from_json(chapter) for chapter in self._call("GET", f"/v1/runs/{run}")["story"]
        ]

    def explanation(self, run: str) -> Explanation:
        """Why the run failed; without causes when it passed."""
        return Explanation.from_json(self._call("GET", f"/v1/runs/{run}/explanation"))

    def runs(self, limit: int = 20, mage_run: int | None = None, **wanted: str) -> list[Run]:
        """The newest first, without their nodes. `wanted`: filters as docs/api.md lists them."""
        parameters = {"limit": limit, **wanted}
        if mage_run is not None:
            parameters["mage_run"] = mage_run
        found = self._call("GET", "/v1/runs", parameters=parameters)
        return [Run.from_json(run) for run in found["runs"]]

    def cancel(self, run: str, by: str) -> Run:
        return Run.from_json(self._call("POST", f"/v1/runs/{run}/cancel", {"by": by}))

    def swap(self, run: str, by: str = "") -> Run:
        """Lets a refresh that waits for a decision go on to its swap."""
        return Run.from_json(self._call("POST", f"/v1/runs/{run}/swap", {"by": by}))

    def follow(self, run: str, say: Callable[[str], None]) -> Iterator[Event]:
        """Every event of a run, as it happens, until the final state.

        `say` is called when it waits for the runner. Raises RunnerUnreachable after
        PATIENCE_SECONDS.
        """
        after = 0
        away_since: float | None = None
        while True:
            try:
                for event in self._events(run, after):
                    after, away_since = event.seq, None
                    yield event
                    if event.last:
                        return
            except Unavailable as error:
                if away_since is None:
                    away_since = time.monotonic()
                    say(f"Waiting for the runner: {error}")
                if time.monotonic() - away_since > PATIENCE_SECONDS:
                    raise
            time.sleep(RETRY_SECONDS)

    def finished(self, run: str, say: Callable[[str], None]) -> Run:
        """The run with all its results; waits while the runner is away."""
        return self._patiently(lambda: self.run(run), say)

    def _events(self, run: str, after: int) -> Iterator[Event]:
        timeout = httpx.Timeout(ANSWER_SECONDS, read=SILENCE_SECONDS)
        path = f"/v1/runs/{run}/events"
        try:
            with self._http.stream("GET", path, params={"after": after}, timeout=timeout) as answer:
                if answer.is_error:
                    answer.read()
                    raise _error(answer)
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield Event.from_json(json.loads(line.removeprefix("data: ")))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def _patiently(self, call: Callable[[], Run], say: Callable[[str], None]) -> Run:
        begun = time.monotonic()
        reason = ""
        while True:
            try:
                return call()
            except Unavailable as error:
                if time.monotonic() - begun > PATIENCE_SECONDS:
                    raise
                if str(error) != reason:
                    reason = str(error)
                    say(f"Waiting for the runner: {reason}")
            time.sleep(RETRY_SECONDS)

    def _call(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any] | None = None,
        seconds: float = ANSWER_SECONDS,
        parameters: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        try:
            answer = self._http.request(
                method, path, json=data, params=parameters, headers=headers, timeout=seconds
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if answer.is_error:
            raise _error(answer)
        return answer.json()

    def _unreachable(self, error: httpx.HTTPError) -> RunnerUnreachable:
        return RunnerUnreachable(
            f"The runner does not answer on {self._socket} ({error or type(error).__name__}).",
            "Is the workspace running (./scripts/start, or its containers)? Its log is "
            "logs/runner.log, or the container's.",
        )


def _error(answer: httpx.Response) -> WorkspaceError:
    """The error the runner raised, from its problem details."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    return problems.read(body, answer.status_code, answer.text)
