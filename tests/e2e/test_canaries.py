"""A canary in every secret, everything the product does, and then a search for them everywhere."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from psycopg import sql

from mage_dbt.base.redaction import _shapes
from mage_dbt.client.client import RunnerClient
from mage_dbt.errors import WorkspaceError
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run, RunState
from tests.canaries import places
from tests.harness import environments
from tests.harness.models import sleepy
from tests.harness.repository import git, git_commit, make_repository
from tests.harness.services import Service, service
from tests.harness.waiting import SECONDS, wait_until
from tests.harness.workspace import Workspace

MADE = (
    *("postgres-superuser", "postgres-mage", "postgres-ledger", "postgres-runner"),
    *("postgres-dbt", "postgres-analyst", "api-token", "mage-jwt", "runner-to-mage"),
    *("proxy-people", "proxy-machines", "cookie-people", "cookie-machines"),
    *("identity-client-secret", "mage-trigger-token"),
)
"""Files of the workspace's own."""

PROFILE = """
whatever_the_team_calls_it:
  target: team
  outputs:
    team:
      type: postgres
      host: 127.0.0.1
      port: {port}
      user: team
      password: {password}
      dbname: team
      schema: analytics
      threads: 2
"""

RUN_SECONDS = 300.0


def canary(name: str) -> str:
    """With what has to be escaped in URLs and JSON, where the place can bear it."""
    plain = name in ("mage-trigger-token", "api-token") or name.startswith(("proxy", "cookie"))
    return f"c4nary{name.encode().hex()}x" if plain else f'c4nary/{name}+"0c4f1e"&x'


class Gate(SimpleHTTPRequestHandler):
    """A git repository over HTTP that asks for a password."""

    wanted = ""

    def do_GET(self) -> None:
        if self.headers["Authorization"] == self.wanted:
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="models"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@dataclass
class Workplace:
    """The workspace with its canaries, and what it was heard to answer."""

    live: Workspace
    repository: Path
    gate: type[Gate]
    canaries: dict[str, str]
    service: Service
    """Where alerts arrive."""
    heard: dict[str, str] = field(default_factory=dict)

    @property
    def client(self) -> RunnerClient:
        return RunnerClient(self.live.home.runner_socket)

    def commit(self, message: str, **models: str) -> None:
        for name, text in models.items():
            (self.repository / "models" / f"{name}.sql").write_text(text)
        sha = git_commit(self.repository, message)
        git(self.repository, "update-server-info")

        def probe() -> bool | str:
            status = self.client.status().to_json()
            self.heard[f"status at {message}"] = str(status)
            here = [status[one] and status[one]["sha"] for one in ("live", "broken")]
            return sha in here or str(here)

        wait_until(f"commit {message} to be seen", probe, RUN_SECONDS)

    def ask(self, **request: Any) -> Run:
        return self.client.submit(Request.parse({"cause": "tool", "caller": "test", **request}))

    def running(self, run: Run) -> Path:
        folder = self.live.home.runs / run.id

        def probe() -> Path | str:
            state = self.client.run(run.id).state
            return folder if state is RunState.RUNNING else str(state)

        return wait_until(f"run {run.id} to run", probe, RUN_SECONDS)

    def tool(self, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.live.checkout / "scripts" / "mage-dbt"), *arguments],
            env=self.live.environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        self.heard[f"mage-dbt {' '.join(arguments)}"] = done.stdout + done.stderr

    def call(self, http: httpx.Client, method: str, path: str, **more: Any) -> None:
        try:
            answer = http.request(method, path, **more)
        except httpx.HTTPError as error:
            self.heard[f"{method} {path}"] = str(error)
            return
        self.heard[f"{method} {path} {more}"] = f"{answer.headers}\n{answer.text}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    folder = tmp_path_factory.mktemp("canaries")
    repository = make_repository(folder / "repository", "steps")
    git(repository, "update-server-info")
    canaries = {name: canary(name) for name in MADE}
    for name in ("DBT_ENV_SECRET_FILE", "DBT_ENV_SECRET_OTHER", "NOTEBOOK_TOKEN", "profile"):
        canaries[name] = canary(name)
    canaries["DBT_PASSWORD"] = "c4naryvariable0c4f1e"
    canaries["git"] = "c4naryg1t0c4f1e"
    canaries["alerts"] = "c4narya1erts0c4f1e"
    given = folder / "given"
    given.mkdir()
    for name in ("DBT_ENV_SECRET_FILE", "NOTEBOOK_TOKEN"):
        (given / name).write_text(canaries[name])
    user = base64.b64encode(f"kim:{canaries['git']}".encode()).decode()
    gate = type("OneGate", (Gate,), {"wanted": f"Basic {user}"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(gate, directory=str(repository)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (given / "git-credentials").write_text(
        f"http://kim:{canaries['git']}@127.0.0.1:{server.server_port}\n"
    )
    (given / "gitconfig").write_text(
        f"[credential]\n\thelper = store --file={given / 'git-credentials'}\n"
    )
    profiles = folder / "profiles"
    profiles.mkdir()
    live = Workspace(
        folder / "home",
        DBT_METRIC_REPO=f"http://127.0.0.1:{server.server_port}/.git",
        GIT_CONFIG_GLOBAL=str(given / "gitconfig"),
        DBT_PROFILES_DIR=str(profiles),
        DBT_SECRETS_DIR=str(given),
        NOTEBOOK_SECRETS_DIR=str(given),
        DBT_ENV_SECRET_OTHER=canaries["DBT_ENV_SECRET_OTHER"],
        DBT_PASSWORD=canaries["DBT_PASSWORD"],
    )
    (profiles / "profiles.yml").write_text(
        PROFILE.format(port=live.environ["POSTGRES_PORT"], password=json.dumps(canaries["profile"]))
    )
    environments.share(live.home)
    live.home.secrets.mkdir(mode=0o700)
    with service() as good:
        lines = [
            f"json://{canaries['alerts']}:{canaries['alerts']}@127.0.0.1:{one}/{canaries['alerts']}"
            for one in (good.port, 9)
        ]
        for name, text in {
            **{one: canaries[one] for one in MADE},
            "alert-urls": "\n".join(lines),
        }.items():
            (live.home.secrets / name).write_text(text)
            (live.home.secrets / name).chmod(0o600)
        live.start_and_wait()
        try:
            yield Workplace(live, repository, gate, canaries, good)
        finally:
            live.stop()
            server.shutdown()


def make_warehouse(workplace: Workplace) -> None:
    """The team's database, until now missing, with a function that says the password aloud."""
    port = workplace.live.settings.postgres_port
    password = workplace.canaries["profile"]
    where = f"host=127.0.0.1 port={port} user=postgres"
    secret = workplace.canaries["postgres-superuser"]
    with psycopg.connect(where, password=secret, dbname="postgres", autocommit=True) as connection:
        verifier = connection.pgconn.encrypt_password(
            password.encode(), b"team", b"scram-sha-256"
        ).decode()
        connection.execute(
            sql.SQL("create role team login password {}").format(sql.Literal(verifier))
        )
        connection.execute("create database team owner team")
    with psycopg.connect(
        f"host=127.0.0.1 port={port} user=team dbname=team", password=password, autocommit=True
    ) as connection:
        connection.execute(
            "create function public.say() returns int language plpgsql as $$ begin raise exception"
            f" 'connection with % failed', convert_from(decode('{password.encode().hex()}', 'hex'),"
            " 'UTF8'); end $$"
        )


def test_no_canary_is_anywhere_after_everything_was_done(workplace: Workplace) -> None:
    live = workplace.live
    # The first build has failed: there is no such role yet.
    first = workplace.client.runs()[0]
    assert first.state is RunState.ERROR
    make_warehouse(workplace)
    assert live.over(workplace.ask(select="numbers+")).state is RunState.SUCCESS
    # The warehouse says the password in an error, in a model's name, in a log and in a row.
    (workplace.repository / "tests").mkdir(exist_ok=True)
    (workplace.repository / "tests" / "no_totals.sql").write_text(
        "select id, 'found' as seen from {{ ref('totals') }}"
    )
    workplace.commit(
        "Say it",
        apart="select public.say() as id",
        totals="{{ log(env_var('DBT_PASSWORD'), info=true) }}"
        "select '{{ adapter.config.credentials.password }}{{ env_var('DBT_PASSWORD') }}' as id",
    )
    said = live.over(workplace.ask(cause="api"))  # of which alerts tell
    assert said.state is RunState.ERROR
    assert "connection with ***** failed" in str([one.message for one in said.nodes])
    (row,) = (result for result in said.nodes if result.name == "no_totals")
    assert row.status == "fail"
    causes = workplace.client.explanation(said.id).causes
    (found,) = (cause.failing_rows for cause in causes if cause.failing_rows)
    ((secret, seen),) = (kept.values for kept in found.rows)
    assert set(secret or "") == {"*"} and seen == "found"
    live.over(workplace.ask(operation="rerun_failed", of=said.id))
    look_at_the_page(workplace, said)
    wait_until(
        "the failure to be told",
        lambda: "*****" in str(workplace.service.received) or str(workplace.service.titles()),
        RUN_SECONDS,
    )
    # A commit that dbt cannot read, with a secret it may not read.
    workplace.commit("Break it", totals="select '{{ env_var(\"DBT_ENV_SECRET_OTHER\") }}' as x")
    workplace.commit("Mend it", totals="select 1 as id", apart=sleepy())
    # Killed workers and a killed runner.
    run = workplace.ask(select="apart")
    folder = workplace.running(run)
    for one in wait_until("its worker", lambda: live.processes(str(folder)) or "none yet"):
        with suppress(psutil.NoSuchProcess):  # it has ended with the one before
            one.kill()
    live.over(run)
    run = workplace.ask(select="apart")
    workplace.running(run)
    live.kill_and_wait("runner")
    live.over(run)
    # Refusals, with a secret where one types it by mistake.
    token = workplace.canaries["api-token"]
    for wrong in ({"select": "no_such_model"}, {"command": "run-operation x"}, {"commit": "abc"}):
        try:
            workplace.client.plan(
                Request.parse({"cause": "tool", "caller": "test", **wrong})
            ).to_json()
        except WorkspaceError as error:
            workplace.heard[str(wrong)] = str(error)
    bearer = {"Authorization": f"Bearer {token}"}
    base = f"http://127.0.0.1:{live.settings.runner_port}"
    with httpx.Client(base_url=base, timeout=SECONDS, trust_env=False) as http:
        for path in (
            *("/ping", "/metrics", "/v1/status", "/v1/models", "/v1/runs", "/nowhere", "/v1/now"),
            *("/v1/commits", "/v1/models/totals", "/v1/schedule", "/v1/alerts", "/v1/docs"),
        ):
            workplace.call(http, "GET", path, headers=bearer)
            workplace.call(http, "GET", path, headers={"Authorization": "Bearer wrong"})
        for run in workplace.client.runs():
            for path in ("", "/events", "/explanation", "/nodes/apart", "/nodes/totals", "/mage"):
                workplace.call(http, "GET", f"/v1/runs/{run.id}{path}", headers=bearer)
        workplace.call(http, "POST", "/v1/runs", headers=bearer, json={"select": ["a", 1]})
        workplace.call(http, "POST", "/v1/plans", headers=bearer, json={"operation": "build"})
    address = f"http://127.0.0.1:{live.settings.mage_port}"
    with httpx.Client(base_url=address, timeout=SECONDS, trust_env=False) as http:
        for path in (
            *("/", "/pipelines", "/api/pipelines", "/api/pipeline_schedules", "/api/pipeline_runs"),
            *("/api/pipelines/daily_full_build/pipeline_schedules", "/api/statuses", "/api/logs"),
            *("/api/block_runs", "/api/projects", "/api/env_vars", "/api/secrets"),
            "/api/pipelines/daily_full_build/logs",
        ):
            workplace.call(http, "GET", path)
    for arguments in (["status"], ["runs"], ["show", said.id], ["plan"], ["alert-test"]):
        workplace.tool(*arguments)
    # Git's password is changed under us.
    workplace.gate.wanted = "Basic nothing"

    def refused() -> bool | str:
        error = str((workplace.client.status().to_json()["sync"] or {}).get("error", ""))
        workplace.heard["git's error"] = error
        return bool(error) or "git-sync has not noticed"

    wait_until("git-sync to be refused", refused, RUN_SECONDS)
    workplace.heard["alerts"] = str(workplace.service.received)
    search(workplace)


def look_at_the_page(workplace: Workplace, said: Run) -> None:
    """Every page, as a page and as JSON, of the run in whose nodes the secrets are said aloud."""
    base = f"http://127.0.0.1:{workplace.live.settings.runner_port}"
    nodes = [f"/runs/{said.id}/nodes/{result.node}" for result in said.nodes]
    with httpx.Client(base_url=base, timeout=SECONDS, trust_env=False) as http:
        for path in (
            *("/runs", "/models", "/commits", "/settings", f"/runs/{said.id}", *nodes),
            *("/models/apart", "/models/totals", "/ask/run", "/ask/rerun"),
        ):
            for address in (path, f"{path}.json"):
                assert http.get(address).status_code == 200, address
                workplace.call(http, "GET", address)
        workplace.call(http, "GET", "/")
        workplace.call(http, "GET", "/now.json")
        for name in ("run", "refresh", "undo"):
            workplace.call(http, "GET", f"/ask/{name}?model=totals")

        def documentation() -> bool | str:
            answer = http.get("/docs/frame")
            return answer.status_code == 200 or answer.text[-500:]

        bearer = {"Authorization": f"Bearer {workplace.live.home.api_token.read_text()}"}
        workplace.call(http, "POST", "/v1/docs", headers=bearer)
        wait_until("dbt's documentation", documentation, RUN_SECONDS)
        workplace.call(http, "GET", "/docs/")
        workplace.call(http, "GET", "/docs/frame")
    page = workplace.heard[f"GET /runs/{said.id} {{}}"]
    assert "connection with ***** failed" in page


def search(workplace: Workplace) -> None:
    allowed = {
        # What the warehouse itself says aloud stands in the warehouse's own log.
        ("profile", str(workplace.live.home.logs / "postgres.log"))
    }
    found = places(workplace.live, workplace.canaries, workplace.heard, allowed)
    assert found == []
    assert len(workplace.heard) > 40
    assert not in_environments(workplace)


def in_environments(workplace: Workplace) -> list[str]:
    """Secrets in the environment of processes that are not to have them."""
    may = {
        "mage": {"postgres-mage", "NOTEBOOK_TOKEN", "mage-jwt", "runner-to-mage"},
        "runner": {"postgres-runner", "DBT_ENV_SECRET_OTHER", "DBT_PASSWORD"},
        "git-sync": set(),
        "postgres": set(),
    }
    found = []
    for name, allowed in may.items():
        environ = str(workplace.live.child(name).environ()).encode()
        for secret, value in workplace.canaries.items():
            if secret not in allowed and any(one.encode() in environ for one in _shapes(value)):
                found.append(f"{secret} in the environment of {name}")
    return found
