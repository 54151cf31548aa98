"""The thin client of the runner: what Mage's blocks and the command-line tool talk through.

It imports neither dbt nor a database driver, and outlives a restart of the runner: a run that is
being followed is taken up again where it was left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from mage_dbt.api import problems
from mage_dbt.errors import RunnerUnreachable, Unavailable, WorkspaceError
from mage_dbt.mage.begun import HEADER as TICKET
from mage_dbt.request import Request
from mage_dbt.run import Event, Run, RunState

ANSWER_SECONDS = 30.0

PLAN_SECONDS = 600.0
"""A plan starts dbt, and may wait for other plans; a named commit may have to be parsed."""

SILENCE_SECONDS = 30.0
"""A stream says something every 10 s; three times that without a word, and it is dead."""

PATIENCE_SECONDS = 120.0
"""How long a follower waits for a runner that is gone to come back."""

RETRY_SECONDS = 1.0


class RunnerClient:
    """Talks to the runner on its Unix socket. Raises the error the runner answered with."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._http = httpx.Client(
            # Without certificates: reading the system's takes 18 ms, and there is no TLS here.
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

    def status(self) -> dict[str, Any]:
        return dict(self._call("GET", "/v1/status"))

    def models(self, search: str = "", limit: int = 10_000) -> Sequence[Mapping[str, Any]]:
        """Models, seeds and snapshots of the live commit, the best match of `search` first."""
        parameters = {"search": search, "limit": limit}
        return list(self._call("GET", "/v1/models", parameters=parameters)["models"])

    def plan(self, request: Request) -> dict[str, Any]:
        """A dry run: see Plan.to_json."""
        return dict(self._call("POST", "/v1/plans", request.to_json(), PLAN_SECONDS))

    def submit(self, request: Request, ticket: str = "") -> Run:
        """Asks for a run. With a key, repeating is safe: a call that got no answer is repeated.

        `ticket` proves that the request's cause is the schedule or the start (`mage/begun.py`).
        """
        headers = {TICKET: ticket} if ticket else {}
        asked = request.to_json()
        return Run.from_json(self._call("POST", "/v1/runs", asked, PLAN_SECONDS, headers=headers))

    def submit_patiently(
        self, request: Request, say: Callable[[str], None], ticket: str = ""
    ) -> Run:
        """As `submit`, waiting for a runner that is away; only for a request with a key."""
        assert request.key
        return self._patiently(lambda: self.submit(request, ticket), say)

    def run(self, run: str) -> Run:
        return Run.from_json(self._call("GET", f"/v1/runs/{run}"))

    def story(self, run: str) -> list[dict[str, Any]]:
        """What the run runs again and what ran it again, oldest first; `text` says it."""
        return list(self._call("GET", f"/v1/runs/{run}")["story"])

    def runs(self, limit: int = 20, mage_run: int | None = None, **wanted: str) -> list[Run]:
        """The newest first, without their nodes. `wanted`: filters as docs/api.md lists them."""
        parameters = {"limit": limit, **wanted}
        if mage_run is not None:
            parameters["mage_run"] = mage_run
        found = self._call("GET", "/v1/runs", parameters=parameters)
        return [Run.from_json(one) for one in found["runs"]]

    def cancel(self, run: str, by: str) -> Run:
        return Run.from_json(self._call("POST", f"/v1/runs/{run}/cancel", {"by": by}))

    def follow(self, run: str, say: Callable[[str], None]) -> Iterator[Event]:
        """Every event of a run, as it happens, until the final state.

        `say` hears of waiting for a runner that is away. Raises RunnerUnreachable when it stays
        away for PATIENCE_SECONDS.
        """
        after = 0
        away_since: float | None = None
        while True:
            try:
                for event in self._events(run, after):
                    after, away_since = event.seq, None
                    yield event
                    if event.kind == "state" and RunState(event.data["state"]).final:
                        return
            except Unavailable as error:
                if away_since is None:
                    away_since = time.monotonic()
                    say(f"Waiting for the runner: {error}")
                if time.monotonic() - away_since > PATIENCE_SECONDS:
                    raise
            time.sleep(RETRY_SECONDS)

    def finished(self, run: str, say: Callable[[str], None]) -> Run:
        """The run with all its results, asked for with patience."""
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
        told = ""
        while True:
            try:
                return call()
            except Unavailable as error:
                if time.monotonic() - begun > PATIENCE_SECONDS:
                    raise
                if str(error) != told:
                    told = str(error)
                    say(f"Waiting for the runner: {told}")
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
            "Is the workspace running (./scripts/start)? Its log is logs/runner.log.",
        )


def _error(answer: httpx.Response) -> WorkspaceError:
    """The error the runner raised, from its problem details."""
    try:
        told = answer.json()
    except ValueError:
        told = None
    return problems.read(told, answer.status_code, answer.text)
