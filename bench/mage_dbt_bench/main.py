"""`./scripts/bench`: see docs/performance.md for what is measured, and how to read it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from mage_dbt.errors import WorkspaceError
from mage_dbt.home import Home
from mage_dbt.launcher.environments import PEERS
from mage_dbt.launcher.progress import Progress
from mage_dbt.launcher.start import stop_on_signals
from mage_dbt.settings import Settings
from mage_dbt_bench import new_commit, picture, results
from mage_dbt_bench.contender import BuildFailed, Contender
from mage_dbt_bench.contenders.cold import Cold
from mage_dbt_bench.contenders.command_line import TUNED, CommandLine, OtherVariables
from mage_dbt_bench.contenders.floor import Floor
from mage_dbt_bench.contenders.mage_block import MageBlock
from mage_dbt_bench.contenders.peer import Peer
from mage_dbt_bench.contenders.warm import WarmApi, WarmInside, WarmMage
from mage_dbt_bench.measure import Measuring
from mage_dbt_bench.pages import measure as pages
from mage_dbt_bench.pages import results as page_results
from mage_dbt_bench.project import FEWEST_MODELS, copy, generate
from mage_dbt_bench.refresh import measure as refreshes
from mage_dbt_bench.refresh import results as refresh_results
from mage_dbt_bench.sql_log import SqlLog
from mage_dbt_bench.stack import Stack, fresh
from mage_dbt_bench.usage import Moment, memory


def main() -> int:
    """Measures, prints, writes. Exit status: 0 done, 1 something failed, 2 asked wrongly."""
    options = _options(sys.argv[1:])
    kind = _kind(options)
    stop_on_signals()
    progress = Progress(time.time())
    home = Home(Settings.load().workspace_home)
    fresh(home)
    folder = home.root / "bench" / "project"
    if options.refresh:
        project = refreshes.project(folder)
    else:
        readers = min(pages.HUB_READERS, options.models // 2) if options.pages else 0
        project = generate(folder, options.models, options.seed, readers)
        progress.say(
            f"{project.nodes} nodes: {options.models} models with two tests each, and seeds"
        )
    stack = Stack(home, project, progress)
    stack.runner_settings.update(kind.runner_settings)
    try:
        stack.start()
        report = kind.measure(stack, options, progress)
    except (WorkspaceError, BuildFailed) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("\nStopped.", file=sys.stderr)
        return 130
    finally:
        stack.stop()
        if not options.keep:
            fresh(home)
    print("", *kind.table(report), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.picture and kind.table is results.table:
        options.picture.write_text(picture.svg(report))
    return 0


@dataclass(frozen=True)
class _Kind:
    """What is measured, and how it is printed."""

    measure: Callable[[Stack, argparse.Namespace, Progress], dict[str, Any]]
    table: Callable[[Mapping[str, Any]], list[str]]
    runner_settings: Mapping[str, str] = field(default_factory=dict)


def _kind(options: argparse.Namespace) -> _Kind:
    if options.refresh:
        return _Kind(refreshes.measure, refresh_results.table)
    if options.pages:
        return _Kind(pages.measure, page_results.table, pages.RUNNER_SETTINGS)
    return _Kind(_measure, results.table)


def _measure(stack: Stack, options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    began, before, load = datetime.now(UTC), Moment.now(), os.getloadavg()
    measuring = Measuring(SqlLog(stack.postgres_log), stack, progress)
    command_line = plain(stack)
    tables = ("--exclude-resource-type", "test", "--use-fast-test-edges")
    first = CommandLine("first", "", stack, command_line.project, tables)
    with progress.during("building everything once, so that every table is there"):
        built = first.build(None)
    progress.say(f"everything is built once ({built.over - built.began:.0f} s)")
    contenders = _contenders(stack, command_line, options)
    if options.contenders:
        contenders = [one for one in contenders if one.name in options.contenders]
    ready = measuring.prepare(contenders)
    commits: dict[str, Any] = {}
    try:
        idle = memory(stack.processes())
        measuring.models(ready, options.repeats)
        if options.full_builds:
            measuring.full_builds(ready)
            if api := next((one for one in ready if isinstance(one, WarmApi)), None):
                try:
                    found = new_commit.measure(stack, api, measuring.one, progress)
                    commits = {"new_commit": found.to_json()}
                except BuildFailed as error:  # what was measured before is not lost with it
                    measuring.left_out["new_commit"] = str(error)
    finally:
        for one in ready:
            one.close()
    about = {
        "models": stack.project.models,
        "nodes": stack.project.nodes,
        "seed": stack.project.seed,
        "repeats": options.repeats,
        "at": began.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - began).total_seconds() / 60, 1),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in ("dbt-core", "dbt-postgres")},
        "beside": {
            "load_before": round(load[0], 1),
            "load_after": round(os.getloadavg()[0], 1),
            **Moment.now().since(before),
        },
        "idle_pss_mb": idle,
        **commits,
    }
    return results.to_json(measuring.measured, about, measuring.left_out)


def plain(stack: Stack) -> CommandLine:
    what = "dbt's command line as people type it, a process a build, partial parse warm."
    return CommandLine("cli", what, stack, copy(stack.project.folder, stack.home.root / "cli"))


def _contenders(
    stack: Stack, command_line: CommandLine, options: argparse.Namespace
) -> list[Contender]:
    root = stack.home.root
    found: list[Contender] = [
        Floor(stack, command_line.compiled(stack.project.measured)),
        WarmInside(stack),
        WarmApi(stack),
        Cold(stack),
        command_line,
        CommandLine(
            "cli_tuned",
            f"The same with {' '.join(TUNED)}.",
            stack,
            copy(stack.project.folder, root / "cli_tuned"),
            TUNED,
        ),
        OtherVariables(
            "cli_vars",
            "The same with another --vars each time, so that dbt parses everything again.",
            stack,
            copy(stack.project.folder, root / "cli_vars"),
        ),
    ]
    if not options.without_mage:
        found += [WarmMage(stack), MageBlock(stack)]
    if options.peers:
        airflow, dagster, prefect = PEERS
        # With what dbt has left in `target`: the manifest, and the partial parse.
        projects = [copy(command_line.project, root / recipe.name) for recipe in PEERS]
        found += [
            Peer(
                "airflow_cosmos",
                "Airflow + Cosmos, LOCAL with dbtRunner: dag.test() in a process that stays.",
                stack,
                airflow,
                "with_airflow",
                projects[0],
                builds_all="Cosmos makes a task of each node; the DAG here is the one model's",
            ),
            Peer(
                "dagster_dbt",
                "Dagster + dagster-dbt: materialize() in a process that stays; it starts dbt.",
                stack,
                dagster,
                "with_dagster",
                projects[1],
            ),
            Peer(
                "prefect_dbt",
                "Prefect + prefect-dbt: a flow in a process that stays, with PrefectDbtRunner.",
                stack,
                prefect,
                "with_prefect",
                projects[2],
            ),
        ]
    return found


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./scripts/bench",
        description="Measures the time from a request to the model's SQL, for us and for others.",
        epilog="docs/performance.md says what is measured.",
        allow_abbrev=False,
    )
    parser.add_argument("--models", type=int, metavar="N", help="models (500; 5000 with --pages)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="counted rounds (5)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the project (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes everything measured")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draws it, as SVG")
    parser.add_argument(
        "--no-full-build", dest="full_builds", action="store_false", help="single models only"
    )
    parser.add_argument(
        "--peers", action="store_true", help="also Airflow + Cosmos, Dagster and Prefect"
    )
    parser.add_argument(
        "--without-mage",
        action="store_true",
        help="nothing that needs a Mage, which is slow to start",
    )
    parser.add_argument("--contenders", type=_names, metavar="A,B", help="only these")
    parser.add_argument(
        "--refresh",
        action="store_true",
        help="measures full refreshes of one table while people read it, and nothing else",
    )
    parser.add_argument(
        "--rows", type=int, default=1_000_000, metavar="N", help="of that table (1000000)"
    )
    parser.add_argument(
        "--pages",
        action="store_true",
        help="measures the pages beside a long history, and nothing else",
    )
    parser.add_argument(
        "--runs", type=int, default=100_000, metavar="N", help="of that history (100000)"
    )
    parser.add_argument(
        "--nodes", type=int, default=15_000, metavar="N", help="of its largest runs (15000)"
    )
    parser.add_argument(
        "--dailies", type=int, default=15, metavar="N", help="daily builds of all models (15)"
    )
    parser.add_argument(
        "--follow", type=float, default=15, metavar="S", help="seconds that a run is followed (15)"
    )
    parser.add_argument("--keep", action="store_true", help="leaves what the bench made and logged")
    options = parser.parse_args(arguments)
    if options.models is None:
        options.models = 5000 if options.pages else 500
    if options.pages and (options.dailies < 3 or options.runs < 144 * (options.dailies + 1)):
        parser.error("at least three daily builds, and 144 runs for each and one more")
    if options.pages and options.nodes < 50:
        parser.error("at least 50 nodes")
    if options.models < FEWEST_MODELS or options.repeats < 1:
        parser.error(f"at least {FEWEST_MODELS} models and one repeat")
    if options.rows < 1:
        parser.error("at least one row")
    return options


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split(","))
