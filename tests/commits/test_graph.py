"""What is written beside a commit: its graph with what people wrote, and how long it took."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mage_dbt.commits.changes import files_of
from mage_dbt.commits.store import Commits
from mage_dbt.model.commit import READY_FILE, Commit
from mage_dbt.model.graph import GRAPH_FILE, Column, Graph
from tests.harness.database import Database
from tests.harness.repository import git, git_commit, make_repository
from tests.harness.runner import Runner, on_project

FCT = "model.shop.fct_orders"
STG = "model.shop.stg_orders"


@dataclass(frozen=True)
class Another:
    """A commit that was watched while it was made ready."""

    sha: str
    secret: str
    begun: float
    status: Mapping[str, Any]
    """The status while it was made ready."""
    ready: Mapping[str, Any]
    """The status once it was live."""


@pytest.fixture(scope="module")
def runner(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("documented")
    with on_project(folder, server, "documented", DBT_METRIC_SUBDIR="dbt") as found:
        yield found


@pytest.fixture(scope="module")
def graph(runner: Runner) -> Graph:
    return Graph.read(folder_of(runner, git(runner.repository, "rev-parse", "HEAD")))


def folder_of(runner: Runner, sha: str) -> Path:
    (folder,) = runner.home.commits.glob(f"{sha[:12]}-*")
    return folder


def store(runner: Runner) -> Commits:
    """A store on the runner's folders, which makes nothing ready."""
    unused: object = None
    return Commits(runner.settings, runner.home, unused, set, lambda _: None)  # type: ignore[arg-type]


def test_the_graph_holds_what_is_enabled_and_what_each_reads(graph: Graph) -> None:
    kinds = {node: graph.nodes[node].type for node in graph.nodes}
    tests = {node for node, kind in kinds.items() if kind == "test"}
    assert {node: kind for node, kind in kinds.items() if node not in tests} == {
        STG: "model",
        FCT: "model",
        "model.shared.rates": "model",
        "seed.shop.countries": "seed",
        "snapshot.shop.kept_orders": "snapshot",
        "source.shop.raw.clicks": "source",
        "unit_test.shop.stg_orders.one_order": "unit_test",
        "exposure.shop.board": "exposure",
        "exposure.shop.evil": "exposure",
    }
    assert {graph.nodes[node].tested for node in tests} == {STG, FCT}
    assert graph.nodes["unit_test.shop.stg_orders.one_order"].tested == STG
    fct = graph.nodes[FCT]
    assert set(fct.reads) == {STG, "seed.shop.countries", "model.shared.rates"}
    assert (fct.path, fct.yaml) == ("models/fct_orders.sql", "models/shop.yml")
    assert (
        fct.relation == '"warehouse"."analytics_sales"."fct_orders"' and fct.materialized == "table"
    )
    assert graph.nodes["model.shared.rates"].path == "../shared/models/rates.sql"
    assert graph.nodes["source.shop.raw.clicks"].name == "raw.clicks"
    below = graph.downstream({STG}) - tests
    assert below >= {FCT, "snapshot.shop.kept_orders", "exposure.shop.board"}
    assert STG in graph.upstream({"exposure.shop.board"})


def test_the_graph_holds_what_people_wrote_and_which_columns_are_hidden(graph: Graph) -> None:
    stg = graph.nodes[STG]
    assert stg.description == "Orders as they come." and set(stg.tags) == {"nightly", "finance"}
    assert stg.columns == (
        Column("id", "integer", "One each."),
        Column("mail", hidden=True),
        Column("phone", hidden=True),
        Column("amount"),
    )
    assert graph.nodes["source.shop.raw.clicks"].columns == (Column("ip", hidden=True),)
    hostile = '<script>window.hostile = 1</script> "quoted" </script> {{ curly }}'
    assert graph.nodes[FCT].description == hostile
    board = graph.nodes["exposure.shop.board"]
    assert (board.label, board.owner) == ("매출 <b>Board</b>", "Kim")
    assert board.url == "https://bi.example.com/board?token=*****&page=2"
    evil = graph.nodes["exposure.shop.evil"]
    assert (evil.label, evil.owner, evil.url) == ("evil", "", "")


def test_macros_are_followed_through_others_and_through_packages(graph: Graph) -> None:
    own = ("../shared/macros/rounded.sql", "macros/money.sql", "macros/turned.sql")
    assert graph.nodes[STG].macros == (*own, "macros/turns.sql")
    assert graph.nodes[FCT].macros == ()
    assert graph.nodes["model.shared.rates"].macros == own[:1]
    never_more = next(node for name, node in graph.nodes.items() if "never_more" in name)
    assert never_more.macros == ("macros/never_more.sql",)
    files = files_of(graph, never_more.node)
    assert files["macros/never_more.sql"] == files["macros/money.sql"] == "macro"
    assert files["models/stg_orders.sql"] == "model" and files["models/shop.yml"] == "yaml"


@pytest.fixture(scope="module")
def another(runner: Runner, graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Another:
    """A second commit, which uses a package and whose texts have a secret in them."""
    environment = runner.postgres.warehouse_environment()
    secret = Path(environment["DBT_ENV_SECRET_WAREHOUSE_PASSWORD_FILE"]).read_text().strip()
    lib = make_repository(tmp_path_factory.mktemp("package") / "lib", "steps")
    (lib / "dbt_project.yml").write_text("name: lib\nversion: '1.0'\n")
    shutil.rmtree(lib / "models")
    shutil.rmtree(lib / "seeds")
    (lib / "macros").mkdir()
    (lib / "macros" / "far.sql").write_text("{% macro far() %}{{ shop.unused() }}{% endmacro %}\n")
    pinned = git_commit(lib, "A macro")
    dbt = runner.repository / "dbt"
    with (dbt / "packages.yml").open("a") as packages:
        packages.write(f"  - git: '{lib.as_uri()}'\n    revision: {pinned}\n")
    (dbt / "models" / "apart.sql").write_text("select {{ lib.far() }} as one\n")
    properties = dbt / "models" / "shop.yml"
    text = properties.read_text().replace("One each.", f"One each, {secret}.")
    properties.write_text(text.replace("name: Kim,", f"name: '{secret}',"))
    begun = time.time()
    with runner.packages_held():
        sha = git_commit(runner.repository, "Use <b>a package</b>")
        status = runner.until(
            "the commit to be made ready", lambda status: status["preparing_commit"] is not None
        )
    return Another(sha, secret, begun, status, runner.live(sha))


def test_a_secret_in_a_text_is_not_written_and_an_installed_package_is_no_code_of_the_project(
    runner: Runner, another: Another
) -> None:
    folder = folder_of(runner, another.sha)
    graph = Graph.read(folder)
    assert graph.nodes["model.shop.apart"].macros == ("macros/unused.sql",)
    assert another.secret not in (folder / GRAPH_FILE).read_text()
    assert graph.nodes[STG].columns[0].description == "One each, *****."
    assert graph.nodes["exposure.shop.board"].owner == "*****"


def test_graphs_of_the_live_commit_and_of_earlier_ones_are_found(
    runner: Runner, graph: Graph, another: Another
) -> None:
    found = store(runner)
    first, newest = git(runner.repository, "rev-list", "--reverse", "HEAD").split()
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(found.graph, [first, newest] * 8))
    assert all(one is not None for one in read)
    assert {id(one) for one in read[::2]} == {id(read[0])}, "it was read more than once"
    assert read[0] == graph
    assert found.graph("0" * 40) is None
    # Described again, as when an environment variable has changed.
    file = folder_of(runner, newest) / GRAPH_FILE
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 1))
    assert found.graph(newest) is not read[1] and found.graph(newest) == read[1]
    other = runner.home.commits / f"{'f' * 12}-older"
    shutil.copytree(folder_of(runner, first), other, symlinks=True)
    assert found.graph("f" * 40) == graph, "of another profile, or of another dbt"
    (other / GRAPH_FILE).unlink()
    assert found.graph("f" * 40) is None, "of an earlier version of the workspace"


def test_the_status_says_what_is_being_made_ready_and_how_long_it_takes_yet(
    runner: Runner, another: Another
) -> None:
    first = git(runner.repository, "rev-list", "--max-parents=0", "HEAD")
    seconds = Commit.read(folder_of(runner, first)).seconds
    assert seconds is not None and 0 < seconds < 600
    preparing = another.status["preparing_commit"]
    assert another.status["preparing"] == preparing["sha"] == another.sha
    assert (preparing["subject"], preparing["author"]) == ("Use <b>a package</b>", "Kim")
    assert 0 <= preparing["left_seconds"] <= seconds
    since = datetime.fromisoformat(preparing["since"]).timestamp()
    assert another.begun - 1 < since < time.time()
    assert another.ready["preparing_commit"] is None
    assert '"seconds": ' in (folder_of(runner, another.sha) / READY_FILE).read_text()


def test_the_graph_is_that_of_the_environment_now(runner: Runner) -> None:
    folder = folder_of(runner, git(runner.repository, "rev-parse", "HEAD"))
    before = Graph.read(folder).nodes[FCT].relation
    runner.restart_runner(SHOP_SCHEMA="shop")
    runner.answering()
    assert Graph.read(folder).nodes[FCT].relation == before.replace("_sales", "_shop")
