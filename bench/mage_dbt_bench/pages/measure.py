"""`./scripts/bench --pages`: how long the runner takes for each page of the site.

The project and the ledger are large: see `ledger.py`. A page is asked for over one connection that
stays, so what is measured is the server's time and a third of a millisecond.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg

from mage_dbt.launcher.environments import TEST, python_of
from mage_dbt.launcher.progress import Progress
from mage_dbt.settings import CHECKOUT
from mage_dbt_bench.contender import BuildFailed
from mage_dbt_bench.pages import ledger
from mage_dbt_bench.pages.ledger import PageLedger
from mage_dbt_bench.pages.results import Measured
from mage_dbt_bench.project import hub
from mage_dbt_bench.stack import Stack
from mage_dbt_bench.usage import Moment, tree_cpu

RUNNER_SETTINGS = {"RUNNER_CALLS_PER_MINUTE": "1000000"}
"""The bench calls more often than anybody may."""

HUB_READERS = 300

LEAST_REPEATS = 15

LONGEST_SECONDS = 120.0

IDLE_SECONDS = 2.0
"""The server closes a connection that is idle for 5 s."""

FOLLOWERS = 3
"""Browsers that follow the run that goes on."""

NODES_A_SECOND = 50
"""That end in the followed run."""

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

ASSET = re.compile(r'(?:src|href)="(/static/[^"]+)"')

NODE_EVENTS = """
with planned as (
    select node ->> 'node' as node, node ->> 'name' as name, node ->> 'type' as type
    from ledger.event, jsonb_array_elements(data -> 'nodes') with ordinality as part (node, place)
    where run = %(run)s and kind = 'plan' and place > %(done)s and place <= %(done)s + %(more)s
    order by place
), event as (
    insert into ledger.event (run, at, kind, data)
    select %(run)s, now(), kind, jsonb_build_object('node', node, 'name', name, 'type', type,
        'status', 'success', 'seconds', 0.1, 'materialized', '')
    from planned cross join (values ('node_started'), ('node_finished')) as event_of (kind)
)
insert into ledger.node_result (
    run, node, at, name, type, status, seconds, message, because, relation, materialized
)
select %(run)s, node, now(), name, type, 'success', 0.1, '', '', '', '' from planned
"""


@dataclass(frozen=True)
class Asked:
    """One address that is measured."""

    name: str
    path: str
    live: bool = False
    """Whether it is a stream, of which the first part counts."""
    plans: bool = False
    """Whether dbt makes a plan for it, so that it is asked for less often."""


def pages(found: PageLedger, models: int, oldest: str) -> list[Asked]:
    """Every page, and the larger ones with what makes them large."""
    model = f"model.bench.{hub(models)}"
    asked_model = f"/ask/run?model={quote(model)}"
    asked_rerun = f"/ask/rerun?run={found.failed}"
    day = f"{datetime.now(UTC) - timedelta(days=3):%Y-%m-%d}"
    filters = {
        "state": "Error",
        "state, rare": "Cancelled",
        "state, now": "Running",
        "operation": "full_refresh",
        "cause": "schedule",
        "caller": "person7",
        "caller, nobody": "no-such-person",
        "commit": "abcdef01",
        "node": hub(models),
        "node, none": "no_such_model",
        "since": day,
        "until": day,
        "daily": "yes",
    }
    runs = [
        Asked(f"runs: {name}", f"/runs?{name.split(',')[0]}={quote(value)}")
        for name, value in filters.items()
    ]
    return [
        Asked("now", "/"),
        Asked("now.json", "/now.json"),
        Asked("runs", "/runs"),
        Asked("runs.json", "/runs.json"),
        *runs,
        Asked("runs: state and caller", "/runs?state=Error&caller=person7"),
        Asked("runs: the last page", f"/runs?before={oldest}"),
        Asked("run: failed early", f"/runs/{found.failed_early}"),
        Asked("run: failed early, .json", f"/runs/{found.failed_early}.json"),
        Asked("run: failed", f"/runs/{found.failed}"),
        Asked("run: green", f"/runs/{found.green}"),
        Asked("run: green, a later page", f"/runs/{found.green}?from=10000"),
        Asked("run: going on", f"/runs/{found.going_on}"),
        Asked("run: small", f"/runs/{found.small}"),
        Asked("a node of a run", f"/runs/{found.failed}/nodes/{model}"),
        Asked("a node of a run, .json", f"/runs/{found.failed}/nodes/{model}.json"),
        Asked("models", "/models"),
        Asked("models: search", "/models?search=model_01"),
        Asked("models: the last page", "/models?page=9999"),
        Asked("models.json", "/models.json"),
        Asked("the picker's names", "/models/names.json"),
        Asked("a model that many read", f"/models/{model}"),
        Asked("the same, .json", f"/models/{model}.json"),
        Asked("commits", "/commits"),
        Asked("commits.json", "/commits.json"),
        Asked("settings", "/settings"),
        Asked("settings.json", "/settings.json"),
        Asked("ask: run", "/ask/run"),
        # Each page before the part that brings its plan: that waits until dbt is done.
        Asked("ask: run, with a model", asked_model, plans=True),
        Asked("ask: run, its plan", f"/live{asked_model}", live=True, plans=True),
        Asked("ask: rerun", asked_rerun, plans=True),
        Asked("ask: rerun, its plan", f"/live{asked_rerun}", live=True, plans=True),
        Asked("live: the strip", "/live/strip", live=True),
        Asked("live: now", "/live/now", live=True),
        Asked("live: a run going on", f"/live/runs/{found.going_on}", live=True),
    ]


class Browser:
    """Asks for pages over one connection, as somebody at this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = self._connect()
        self._last = time.monotonic()

    def ask(self, asked: Asked) -> tuple[float, int]:
        """Seconds until the answer is there, and its bytes. Raises BuildFailed."""
        if asked.live:
            with self.stream(asked.path) as (first, _):
                return first
        if time.monotonic() - self._last > IDLE_SECONDS:
            self._connection = self._connect()
            self._connection.connect()
        begun = time.perf_counter()
        body = self.body(asked.path)
        return time.perf_counter() - begun, len(body)

    def body(self, path: str) -> bytes:
        """An answer as it was sent, compressed where the server does that."""
        self._connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = self._connection.getresponse()
        body = answer.read()
        self._last = time.monotonic()
        if answer.status != 200:
            raise BuildFailed(f"{path}: {answer.status} {body[:300]!r}")
        return body

    @contextmanager
    def stream(self, path: str) -> Iterator[tuple[tuple[float, int], Iterator[bytes]]]:
        """Seconds until the first part is there, its bytes, and the lines that follow it."""
        with closing(self._connect()) as connection:
            begun = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            size = 0
            for line in answer:
                if line.startswith(b"data:"):
                    size += len(line)
                elif size and not line.strip():
                    break
            yield (time.perf_counter() - begun, size), answer

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=LONGEST_SECONDS)


def measure(stack: Stack, options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """The whole report."""
    began, load = datetime.now(UTC), os.getloadavg()
    url = stack.ledger_url()
    with progress.during(f"writing {options.runs} runs into the ledger"):
        found = ledger.fill(
            url, stack.commit.sha, options.runs, options.models, options.nodes, options.dailies
        )
        with psycopg.connect(url) as connection:
            query = "select id from ledger.run order by asked_at, id offset 20 limit 1"
            [oldest] = connection.execute(query.encode()).fetchone() or [""]
    progress.say(f"{options.runs} runs are in the ledger")
    before = Moment.now()
    browser = Browser(int(stack.settings.runner_port))
    measured: dict[str, Measured] = {}
    asked = pages(found, options.models, str(oldest))
    # Every page once before any is asked for again: what one keeps may help another.
    for page in asked:
        seconds, size = browser.ask(page)
        measured[page.name] = Measured(page.path, seconds, size, page.plans and page.live)
    progress.say("every page was asked for once")
    for number in range(max(options.repeats, LEAST_REPEATS)):
        at = number % len(asked)
        for page in (*asked[at:], *asked[:at]):
            if number >= LEAST_REPEATS // 3 and page.plans:
                continue
            used = _cpu_so_far(stack)
            measured[page.name].again.append(browser.ask(page)[0])
            measured[page.name].cpu.append(_cpu_so_far(stack) - used)
    with progress.during("following a run that goes on"):
        followed = _followed(stack, browser, url, found.going_on, options)
    browser = Browser(int(stack.settings.runner_port))  # an idle connection is closed
    report = {
        "models": options.models,
        "runs": options.runs,
        "nodes": options.nodes,
        "repeats": max(options.repeats, LEAST_REPEATS),
        "at": began.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - began).total_seconds() / 60, 1),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "beside": {
            "load_before": round(load[0], 1),
            "load_after": round(os.getloadavg()[0], 1),
            **Moment.now().since(before),
        },
        "pages": {name: page.to_json() for name, page in measured.items()},
        "first_page_kb": _first_page(browser),
        "followed": followed,
    }
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium:
        report["picker_ms"] = _picker(stack, chromium, hub(options.models))
    return report


def _cpu_so_far(stack: Stack) -> float:
    """CPU seconds of the runner, its workers and PostgreSQL."""
    return sum(tree_cpu(stack.pid(name)) for name in ("runner", "postgres"))


def _first_page(browser: Browser) -> dict[str, float]:
    """Kilobytes (1,000 bytes) of `/` and of all files that it names, as they are sent."""
    body = browser.body("/")
    text = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
    names = dict.fromkeys(ASSET.findall(text.decode()))
    sizes = {name.rpartition("/")[2]: len(browser.body(name)) for name in names}
    found = {"page": len(body), **sizes}
    return {name: round(size / 1000, 1) for name, size in found.items()} | {
        "all": round(sum(found.values()) / 1000, 1)
    }


def _followed(
    stack: Stack, browser: Browser, url: str, run: str, options: argparse.Namespace
) -> dict[str, Any]:
    """CPU of the runner and of PostgreSQL for each second in which a run is followed."""
    over = threading.Event()
    batches = itertools.count(options.nodes * 2 // 3, NODES_A_SECOND // 5)

    def write() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not over.wait(0.2):
                done = next(batches)
                values = {"run": run, "done": done, "more": NODES_A_SECOND // 5}
                connection.execute(NODE_EVENTS.encode(), values)

    parts = [0] * FOLLOWERS

    def follow(number: int) -> None:
        with browser.stream(f"/live/runs/{run}") as (_, lines):
            for line in lines:
                parts[number] += not line.strip()
                if over.is_set():
                    return

    alone = _cpu_of(stack, [write], over, options.follow)
    over.clear()
    followers = [partial(follow, number) for number in range(FOLLOWERS)]
    together = _cpu_of(stack, [write, *followers], over, options.follow)
    return {
        "nodes_a_second": NODES_A_SECOND,
        "followers": FOLLOWERS,
        "parts_a_second": round(sum(parts) / FOLLOWERS / options.follow, 2),
        **{f"{name}_cpu_alone": cpu for name, cpu in alone.items()},
        **{f"{name}_cpu_followed": cpu for name, cpu in together.items()},
    }


def _cpu_of(
    stack: Stack, tasks: Sequence[Callable[[], None]], over: threading.Event, seconds: float
) -> dict[str, float]:
    """CPU seconds a second of the runner and PostgreSQL while the tasks go on."""
    threads = [threading.Thread(target=task, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    pids = {name: stack.pid(name) for name in ("runner", "postgres")}
    before = {name: tree_cpu(pid) for name, pid in pids.items()}
    threading.Event().wait(seconds)
    seconds = time.monotonic() - begun
    used = {name: round((tree_cpu(pid) - before[name]) / seconds, 3) for name, pid in pids.items()}
    over.set()
    for thread in threads:
        thread.join(5)
    return used


def _picker(stack: Stack, chromium: str, text: str) -> dict[str, float]:
    """Milliseconds that one key takes in the browser."""
    done = subprocess.run(
        [
            *(str(python_of(stack.home, TEST)), "-P", "-m", "mage_dbt_bench.pages.keystrokes"),
            *(f"http://127.0.0.1:{stack.settings.runner_port}/", chromium, text),
        ],
        env={**os.environ, "PYTHONPATH": str(Path(CHECKOUT) / "bench")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildFailed(f"the picker: {done.stderr[-2000:]}")
    keys = sorted(json.loads(done.stdout))
    return {
        "median": round(keys[len(keys) // 2], 1),
        "p95": round(keys[int(len(keys) * 0.95)], 1),
        "max": round(keys[-1], 1),
    }
