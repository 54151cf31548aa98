"""What the code of a notebook tries: given to the Python of the container `mage`, as Mage's user.

Prints one JSON list of what was tried and what answered. Imports nothing of the tests.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psycopg2

OTHERS = (
    "alert-urls",
    "api-token",
    "cookie-machines",
    "cookie-people",
    "git-ssh-key",
    "identity-client-secret",
    "postgres-dbt",
    "postgres-ledger",
    "postgres-runner",
    "postgres-superuser",
    "proxy-machines",
    "proxy-people",
)
"""Secrets of the other processes."""

SECONDS = 300.0
"""For an answer. Nothing of the tests is in the container that this runs in."""

SECRETS = Path("/workspace/secrets")

FORGED = {
    "X-Forwarded-Email": "otto@example.com",
    "X-Forwarded-Groups": "owners",
    "X-Workspace-Proxy": "guessed",
    "Authorization": "Bearer guessed",
}


def sentence(error: BaseException) -> str:
    """The first line of an error, without the server's address, which differs from run to run."""
    first = str(error).strip().split("\n")[0]
    return re.sub(r"^connection to server .* failed: (FATAL: +)?", "", first)


def others_secrets() -> Iterator[str]:
    for name in OTHERS:
        for folder in (SECRETS, Path("/run/secrets"), Path("/etc/git-secret")):
            try:
                yield f"{name} is readable: {len((folder / name).read_bytes())} bytes"
            except OSError as error:
                yield error.strerror or ""


def others_processes() -> Iterator[str]:
    """By /proc: whose environment is there at all, and which can be read."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = folder.stat().st_uid == os.getuid()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (folder / "environ").read_text()
        except OSError:
            continue
        if not mine or "mage_dbt.server" in command or "oauth2-proxy" in command:
            yield f"{command[:50]} is visible"
        if found := [name for name in OTHERS if name.upper().replace("-", "_") in environment]:
            yield f"{command[:50]} holds {found}"
    yield "only Mage's own processes are there"


def sockets() -> Iterator[str]:
    """Every socket that this machine's network namespace names, opened."""
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        path = line.split()[-1]
        if not path.startswith("/workspace/doors/"):
            continue
        with closing(socket.socket(socket.AF_UNIX)) as opened:
            try:
                opened.connect(path)
                yield f"{path.removeprefix('/workspace/')} opens"
            except OSError as error:
                yield f"{path.removeprefix('/workspace/')}: {error.strerror}"


def ports() -> Iterator[str]:
    """At this container's loopback, and by the name of the service that publishes them."""
    paths = {4182: "/v1/status", 4181: "/v1/status", 4180: "/runner/v1/status"}
    for host, port in [("127.0.0.1", 4182), ("front", 4181), ("front", 4180)]:
        answer = httpx.get(
            f"http://{host}:{port}{paths[port]}", headers=FORGED, trust_env=False, timeout=SECONDS
        )
        yield str(answer.status_code)


def at_loopback() -> Iterator[str]:
    """The proxies' ports are not in this network, so nobody sends anything there."""
    for port in (4180, 4181):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=SECONDS).close()
            yield f"{port} opens"
        except OSError as error:
            yield error.strerror or ""


def taken_ports() -> Iterator[str]:
    """To stand in the place of the runner."""
    with closing(socket.socket()) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            one.bind(("127.0.0.1", 4182))
            one.listen()
            yield "4182 taken"
        except OSError as error:
            yield error.strerror or ""


def listening_in() -> Iterator[str]:
    """To read what goes over the loopback that the containers share."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)).close()
        yield "raw sockets open"
    except OSError as error:
        yield error.strerror or ""


def at_the_runner(operation: dict[str, object]) -> Iterator[str]:
    """What becomes of it: the status of a refusal, or how the run ends and why."""
    transport = httpx.HTTPTransport(uds="/workspace/doors/mage/runner.sock")
    with httpx.Client(transport=transport, base_url="http://runner", timeout=SECONDS) as runner:
        for headers in ({}, FORGED):
            body = {**operation, "why": "a notebook tries", "caller": "otto@example.com"}
            answer = runner.post("/v1/runs", json=body, headers=headers)
            if answer.status_code == 202:
                yield ended(runner, answer.json()["id"])
            else:
                yield str(answer.status_code)


def ended(runner: httpx.Client, run: str) -> str:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        now = runner.get(f"/v1/runs/{run}").json()
        if now["state"] in ("Success", "Error", "Cancelled"):
            return f"by {now['caller']}: {now['state']}, {now['detail'].split('. ')[0]}"
        time.sleep(0.5)
    return f"it is still {now['state']}"


def connected(user: str, password: str, database: str, *statements: str) -> Iterator[str]:
    """What each statement answers, in a transaction of its own that is never kept."""
    for statement in statements:
        try:
            with closing(
                psycopg2.connect(
                    host="postgres",
                    user=user,
                    password=password,
                    dbname=database,
                    options="-c default_transaction_read_only=off",
                )
            ) as one:
                one.cursor().execute(statement)
                yield f"done: {statement}"
        except psycopg2.Error as error:
            yield sentence(error)


def secret(name: str) -> str:
    return (SECRETS / name).read_text().strip()


def reading() -> Iterator[str]:
    return connected(
        "analyst", secret("postgres-analyst"), "warehouse", "select * from analytics.fct_orders"
    )


def writing() -> Iterator[str]:
    return connected(
        "analyst",
        secret("postgres-analyst"),
        "warehouse",
        "insert into analytics.fct_orders select * from analytics.fct_orders",
        "delete from analytics.fct_orders",
        "truncate analytics.fct_orders",
        "drop table analytics.fct_orders cascade",
        "alter table analytics.fct_orders rename to stolen",
        "create table analytics.mine (a int)",
        "create table public.mine (a int)",
        "create schema mine",
    )


def becoming() -> Iterator[str]:
    for role in ("dbt", "ledger", "runner", "postgres"):
        yield from connected("analyst", secret("postgres-analyst"), "warehouse", f"set role {role}")
        yield from connected("mage", secret("postgres-mage"), "workspace", f"set role {role}")


def out_of_the_database() -> Iterator[str]:
    for user, database in (("analyst", "warehouse"), ("mage", "workspace")):
        yield from connected(
            user,
            secret(f"postgres-{user}"),
            database,
            "copy (select 1) to program 'true'",
            "select pg_read_file('/run/secrets/postgres-superuser')",
            "select rolpassword from pg_authid",
        )


def the_ledger() -> Iterator[str]:
    for user in ("mage", "analyst"):
        yield from connected(
            user,
            secret(f"postgres-{user}"),
            "workspace",
            "select * from ledger.runs",
            "delete from ledger.runs",
        )


def others_roles() -> Iterator[str]:
    for role in ("dbt", "ledger", "runner", "postgres"):
        for password in ("", role, secret("postgres-mage"), secret("postgres-analyst")):
            yield from connected(role, password, "workspace", "select 1")


def root() -> Iterator[str]:
    """Programs that would give another user's rights, and what `no-new-privileges` leaves."""
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    yield f"capabilities {int(status['CapEff'], 16) | int(status['CapBnd'], 16)}"
    for program in ("/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount"):
        if Path(program).exists() and Path(program).stat().st_mode & stat.S_ISUID:
            done = subprocess.run(
                [program, "-c", "id -u"] if program.endswith("su") else [program, "-S", "root"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
            )
            yield "refused" if done.returncode else f"{program} let in"


def the_programs() -> Iterator[str]:
    """To change what runs at the next start."""
    for path in ("/opt/mage-dbt/custom_blocks/new.py", "/usr/local/bin/new", "/etc/new", "/new"):
        try:
            Path(path).write_text("")
            yield f"{path} is written"
        except OSError as error:
            yield error.strerror or ""


REFRESH: dict[str, object] = {
    "operation": "full_refresh",
    "in_place": True,
    "select": ["fct_orders"],
    "keep_views": False,
}
COMMAND: dict[str, object] = {"operation": "command", "command": "run --full-refresh"}

TRIED: dict[str, Callable[[], Iterator[str]]] = {
    "the secret files of the runner, the proxies, git-sync and `prepare`": others_secrets,
    "`/proc/<pid>/environ` of other processes": others_processes,
    "every socket of the doors, by the names in `/proc/net/unix`": sockets,
    "the runner's and the proxies' ports, with forged headers": ports,
    "the proxies' ports at its own loopback": at_loopback,
    "to listen at the runner's port in its place, while it runs": taken_ports,
    "to read along at loopback (a raw socket)": listening_in,
    "a full refresh at its own door that takes along a view made by hand, as Otto, with forged "
    "headers": lambda: at_the_runner(REFRESH),
    "`--full-refresh` in a command there, the same way": lambda: at_the_runner(COMMAND),
    "to read the warehouse": reading,
    "to write, drop, rename and create in the warehouse": writing,
    "to become `dbt`, `ledger`, `runner` or `postgres` (`set role`)": becoming,
    "to sign in as them, with every password it has": others_roles,
    "the ledger, read and emptied": the_ledger,
    "out of PostgreSQL: a program, a file, password hashes": out_of_the_database,
    "root: capabilities, and programs with the setuid bit": root,
    "to change the programs that start next time": the_programs,
}

if __name__ == "__main__":
    print(json.dumps([[tried, sorted(set(run()))] for tried, run in TRIED.items()]))
