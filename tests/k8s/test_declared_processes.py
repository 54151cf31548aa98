"""A daily build, a rerun by JWT and a full refresh, by the processes that the files declare."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mage_dbt.client.client import RunnerClient
from mage_dbt.errors import Unavailable
from mage_dbt.home import Home
from mage_dbt.launcher import identity_provider
from mage_dbt.launcher.environments import DBT, MAGE
from mage_dbt.launcher.identity_provider import BOT
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.launcher.progress import Progress
from mage_dbt.launcher.supervisor import Supervisor
from mage_dbt.mage.api import MageApi
from mage_dbt.model.run import Run, RunState
from mage_dbt.settings import CHECKOUT, Settings
from tests.harness import environments
from tests.harness.forms import Visitor
from tests.harness.login import running, try_to_sign_in
from tests.harness.ports import free_ports
from tests.harness.repository import git_commit, make_repository
from tests.harness.waiting import SECONDS, wait_until
from tests.k8s import declared, tools
from tests.k8s.declared import Declared, Place
from tests.k8s.tools import said_of

PORTS = (4180, 4181, 4182, 4183, 5432, 6789)

pytestmark = [pytest.mark.timeout(900), pytest.mark.side_by_side]


@dataclass
class Pod:
    """All of it, running."""

    place: Place
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)
    declared: dict[str, Declared] = field(default_factory=dict)
    repository: Path = Path()
    outside: Home = field(default_factory=lambda: Home(Path()))

    def start(self, name: str) -> None:
        log = self.logs[name] = self.place.root / f"{name}.log"
        self.processes[name] = self.place.start(self.declared[name], log)

    def until_healthy(self, name: str, seconds: float = SECONDS) -> None:
        """By the health check that the file declares."""
        one = self.declared[name]

        def probe() -> bool | str:
            assert self.processes[name].poll() is None, f"{name} ended:\n{self.tail(name)}"
            status, said = self.place.probe(one)
            return status == 0 or said or f"{name}'s check gives {status}"

        wait_until(f"{name} to be healthy", probe, seconds)

    def tail(self, name: str) -> str:
        return self.logs[name].read_text(errors="replace")[-3000:]

    @property
    def runner(self) -> RunnerClient:
        return RunnerClient(
            Home(self.place.path(self.declared["runner"], "/workspace")).runner_socket
        )

    def url(self, port: int) -> str:
        return f"http://127.0.0.1:{self.place.ports[port]}"

    def token(self) -> str:
        answer = httpx.post(
            f"{self.url(4183)}/token",
            data={"grant_type": "client_credentials"},
            auth=(BOT, self.outside.development_bot_secret.read_text()),
            trust_env=False,
            timeout=SECONDS,
        )
        return str(answer.raise_for_status().json()["access_token"])

    def over(self, run: str) -> Run:
        def probe() -> Run | str:
            now = self.runner.run(run)
            return now if now.state.final else f"{now.state} {now.detail}"

        return wait_until(f"run {run} to be over", probe)


@pytest.fixture(scope="module", params=["compose", "kubernetes"])
def pod(
    request: pytest.FixtureRequest, proxy_program: Path, provider_program: Path
) -> Iterator[Pod]:
    # A socket's path may be 100 bytes long, so the folder's own is short.
    root = Path(tempfile.mkdtemp(prefix="pod-"))
    root.chmod(0o755)
    try:
        with started(
            root, request.param, request.config.getoption("--git-sync"), proxy_program
        ) as it:
            yield it
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def started(root: Path, by: str, git_sync: Path | None, proxy: Path) -> Iterator[Pod]:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    python = environments.python(DBT)
    programs = {
        "python": python,
        "mage": environments.python(MAGE),
        "people": proxy,
        "machines": proxy,
        "git-sync": git_sync or python,
    }
    place = Place(root, root / "secrets", ports, programs)
    pod = Pod(place, outside=Home(root / "outside"))
    pod.repository = make_repository(root / "repository", "steps")
    make_secrets(pod)
    pod.declared = read(pod, by)
    if git_sync is None:
        pod.declared["git-sync"] = stand_in(pod)
    with ExitStack() as stack:
        stack.callback(stop, pod)
        stack.enter_context(postgres(pod))
        launch = identity_provider.launch(pod.outside, ports[4183], pod.url(4180))
        log = root / "provider.log"
        stack.enter_context(running(launch, {"PATH": os.environ["PATH"]}, log))
        pod.start("prepare")
        assert pod.processes.pop("prepare").wait(SECONDS) == 0, pod.tail("prepare")
        for name in ("git-sync", "runner", "mage"):
            pod.start(name)
        pod.until_healthy("runner")
        for name in ("people", "machines"):
            pod.start(name)
        pod.until_healthy("mage", 240)
        for port in (4180, 4181):
            wait_for_ping(pod, port)
        wait_for_commit(pod)
        yield pod


def make_secrets(pod: Pod) -> None:
    """As the page says: by the script, then what only people can fill in."""
    root = pod.place.root
    (root / "scripts").mkdir()
    script = shutil.copy2(CHECKOUT / "scripts" / "make-secrets", root / "scripts")
    assert said_of([str(script)])[0] == 0
    (root / "secrets" / "identity-client-secret").write_text("the client secret of this test")
    environments.share(pod.outside)
    pod.outside.secrets.mkdir(mode=0o700)
    for name in ("identity-client-secret", "development-bot", "postgres-superuser"):
        shutil.copyfile(root / "secrets" / name, pod.outside.secrets / name)


def read(pod: Pod, by: str) -> dict[str, Declared]:
    """What is declared, with this test's own addresses where people write theirs."""
    plain = {"OAUTH2_PROXY_COOKIE_SECURE": "false", "OAUTH2_PROXY_COOKIE_NAME": "workspace"}
    if by == "compose":
        variables = {
            "DBT_METRIC_REPO": f"file://{pod.repository}",
            "MAGE_PUBLIC_URL": pod.url(4180),
            "IDENTITY_ISSUER": pod.url(4183),
        }
        files = ("docker-compose.yml", "docker-compose.development.yml")
        found = declared.compose(files, variables)
        prepare = found["prepare"]
        assert prepare.command[-1] == "--demo"  # not needed: the test has a project of its own
        return found | {"prepare": replace(prepare, command=prepare.command[:-1])}
    status, built = said_of([str(tools.kustomize()), "build", "k8s/overlays/example"])
    assert status == 0, built
    addresses = {
        "git@git.example.com:data/dbt-metric.git": f"file://{pod.repository}",
        "https://mage.example.com": pod.url(4180),
        "https://login.example.com": pod.url(4183),
    }
    for written, here in addresses.items():
        assert written in built
        built = built.replace(written, here)
    declared.CONFIG_MAPS[""] = pod.place.root / "config-maps"
    found = declared.kubernetes(built)
    for name in ("people", "machines"):
        found[name] = replace(found[name], environment={**found[name].environment, **plain})
    safe = {"GITSYNC_GIT_CONFIG": "safe.directory:*"}
    git_sync = found["git-sync"]
    found["git-sync"] = replace(git_sync, environment={**git_sync.environment, **safe})
    return found


def stand_in(pod: Pod) -> Declared:
    """Our own git sync, told what git-sync is told: it keeps the same promises."""
    one = pod.declared["git-sync"]
    flags = dict(word.removeprefix("--").split("=", 1) for word in one.command)
    environment = {
        "WORKSPACE_HOME": "/workspace",
        "DBT_METRIC_REPO": one.environment["GITSYNC_REPO"],
        "DBT_METRIC_REF": flags.get("ref") or one.environment["GITSYNC_REF"],
        "DBT_METRIC_DIR": flags["root"],
        "DBT_METRIC_POLL_SECONDS": "1",
    }
    assert flags["link"] == "current"
    return replace(
        one, command=("python", "-P", "-m", "mage_dbt.commits.git_sync"), environment=environment
    )


@contextmanager
def postgres(pod: Pod) -> Iterator[None]:
    """In the place of the container: the embedded server, with the superuser's declared secret."""
    home = Home(pod.place.root / "postgres")
    home.secrets.mkdir(parents=True)
    home.logs.mkdir()
    shutil.copyfile(pod.place.secrets / "postgres-superuser", home.secrets / "postgres-superuser")
    server = Postgres(home, pod.place.ports[5432])
    server.prepare()
    supervisor = Supervisor(home, Progress(psutil.Process().create_time()))
    supervisor.start(server.program())
    supervisor.wait("postgres")
    try:
        yield
    finally:
        supervisor.stop((("postgres",),))


def stop(pod: Pod) -> None:
    for process in pod.processes.values():
        with_all_its_own = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        # In a container the end of its first process ends them; here we do.
        for one in with_all_its_own:
            with suppress(psutil.NoSuchProcess):
                one.kill()


def wait_for_ping(pod: Pod, port: int) -> None:
    def probe() -> bool | str:
        try:
            return (
                httpx.get(f"{pod.url(port)}/ping", trust_env=False, timeout=SECONDS).status_code
                == 200
            )
        except httpx.HTTPError as error:
            return str(error)

    wait_until(f"the proxy on {port} to answer", probe)


def wait_for_commit(pod: Pod) -> None:
    def probe() -> bool | str:
        status = pod.runner.status()
        return bool(status.live) or f"{status.broken}, {pod.tail('git-sync')[-500:]}"

    wait_until("a commit to be ready", probe)


def test_a_daily_build_a_rerun_by_jwt_and_a_full_refresh(pod: Pod) -> None:
    home = Home(pod.place.path(pod.declared["runner"], "/workspace"))
    settings = Settings.load(pod.place.environment(pod.declared["runner"]), home.root / "no.env")
    (pod.repository / "models" / "facts.sql").write_text("select 1 / 0 as id, 1 as amount")
    sha = git_commit(pod.repository, "Break facts")
    wait_until_live(pod, sha)

    with MageApi(settings, home) as mage:

        def trigger() -> list[int] | str:
            try:
                return [mage.api_trigger("daily_full_build")]
            except Unavailable as error:  # it answers before it has read them
                return str(error)

        [known] = wait_until("Mage to know its triggers", trigger)
        number = mage.fire(known, {"cause": "start"})

        def mages_end() -> list[str] | str:
            status = str(mage.pipeline_run(number)["status"])
            return [status] if status in ("completed", "failed") else f"it is {status}"

        assert wait_until("Mage to end the daily build", mages_end, 400) == ["failed"]
    failed = pod.runner.runs(limit=1, mage_run=number)[0]
    assert failed.state is RunState.ERROR

    (pod.repository / "models" / "facts.sql").write_text("select 1 as id, 1 as amount")
    wait_until_live(pod, git_commit(pod.repository, "Repair facts"))
    api = httpx.Client(base_url=pod.url(4181), trust_env=False, timeout=SECONDS)
    api.headers["Authorization"] = f"Bearer {pod.token()}"
    body: dict[str, Any] = {"operation": "rerun_failed", "of": failed.id, "why": "it is repaired"}
    answer = api.post("/v1/runs", json=body, headers={"Idempotency-Key": "the-test-asks"})
    assert answer.status_code == 202, answer.text
    rerun = pod.over(answer.json()["run"]["id"] if "run" in answer.json() else answer.json()["id"])
    assert rerun.state is RunState.SUCCESS and BOT in rerun.caller
    again = api.post("/v1/runs", json=body, headers={"Idempotency-Key": "the-test-asks"})
    assert again.status_code == 200 and again.json()["added"] is False

    body = {"operation": "full_refresh", "select": ["facts"], "why": "a new column"}
    answer = api.post("/v1/runs", json=body)
    assert answer.status_code == 202, answer.text
    assert pod.over(answer.json()["id"]).state is RunState.SUCCESS


def wait_until_live(pod: Pod, sha: str) -> None:
    def probe() -> bool | str:
        live = pod.runner.status().live
        return bool(live and live.sha == sha) or f"{live and live.sha} is live"

    wait_until(f"commit {sha[:7]} to be live", probe)


def test_nobody_comes_in_without_a_login_and_a_person_does_with_one(pod: Pod) -> None:
    with httpx.Client(base_url=pod.url(4180), trust_env=False, timeout=SECONDS) as client:
        assert client.get("/api/statuses").status_code == 401
        assert client.get("/runner/v1/status").status_code == 401
        assert httpx.get(
            f"{pod.url(4181)}/v1/status", trust_env=False, timeout=SECONDS
        ).status_code in (401, 403)
        assert client.get("/runner/now.json").status_code == 401
        page = try_to_sign_in(client, "ana@example.com", "/runner/")
        assert page.status_code == 200 and page.url.path == "/runner/"
        assert '<a href="/runner/runs">Runs</a>' in page.text
        files = re.findall(r'(?:href|src)="(/runner/static/[^"]+)"', page.text)
        assert len(files) > 5 and all(client.get(file).status_code == 200 for file in files)
        visitor = Visitor(client)
        choice = visitor.see("/runner/settings").choice_of("한국어")
        chosen = visitor.send(choice)
        assert chosen.headers["location"] == "/runner/settings"
        assert '<html lang="ko">' in client.get("/runner/settings").text
        assert client.get("/runner/v1/status").json()["live"]["sha"]
        assert client.get("/api/statuses").status_code == 200  # Mage, by the runner's relay


def test_the_backup_writes_what_it_has_restored(pod: Pod) -> None:
    pod.start("backup")
    assert pod.processes.pop("backup").wait(SECONDS) == 0, pod.tail("backup")
    assert len(list(pod.place.volume("backups").glob("workspace-*.dump"))) == 1


def test_what_the_runner_and_mage_share_can_be_used_by_both_users(pod: Pod) -> None:
    project = pod.place.volume("mage-project")
    form = project / "interactions" / "single_model_rerun.yaml"
    # The runner's list, in a file that Mage's user made; it comes after the commit is ready.
    wait_until("the form to offer models", lambda: "facts" in form.read_text() or "it does not")
    triggers = project / "pipelines" / "daily_full_build" / "triggers.yaml"
    assert triggers.stat().st_mode & 0o777 == 0o660
    if not pod.place.apart:  # not root, so all of them are one user
        return
    assert triggers.stat().st_gid == declared.GROUP
    users = {name: psutil.Process(one.pid).uids().real for name, one in pod.processes.items()}
    assert len({users["mage"], users["runner"], users["people"], users["git-sync"]}) == 4
