"""Which files a node is made of, and what each is for it."""

from __future__ import annotations

from mage_dbt.commits.changes import PROJECT_FILES, files_of
from mage_dbt.model.graph import Graph, GraphNode

PROJECT = dict.fromkeys(PROJECT_FILES, "project")


def graph(*nodes: GraphNode) -> Graph:
    return Graph({node.node: node for node in nodes})


def node(unique_id: str, path: str, *reads: str, **more: str | tuple[str, ...]) -> GraphNode:
    kind, _, name = unique_id.split(".")
    given: dict[str, object] = {"name": name, "type": kind, "path": path, "reads": reads, **more}
    return GraphNode(node=unique_id, **given)  # type: ignore[arg-type]


ALL = graph(
    node("seed.p.rates", "seeds/rates.csv", yaml="seeds/seeds.yml"),
    node("source.p.orders", "models/sources.yml", yaml="models/sources.yml"),
    node(
        "model.p.stg",
        "models/stg.sql",
        *("source.p.orders", "seed.p.rates"),
        yaml="models/all.yml",
        macros=("macros/cents.sql", "macros/stg.sql"),
    ),
    node("model.p.fct", "models/fct.sql", "model.p.stg", yaml="models/all.yml"),
    node("model.p.other", "models/other.sql", "model.p.stg"),
    node(
        "test.p.unique_fct",
        "models/all.yml",
        "model.p.fct",
        tested="model.p.fct",
        macros=("macros/unique.sql", "macros/stg.sql"),
    ),
    node("test.p.whole", "tests/whole.sql", "model.p.fct", "model.p.other"),
)


def test_a_model_is_made_of_its_file_yaml_macros_and_of_all_that_is_upstream() -> None:
    assert files_of(ALL, "model.p.fct") == PROJECT | {
        "models/fct.sql": "model",
        "models/all.yml": "yaml",
        "models/stg.sql": "upstream",
        "models/sources.yml": "upstream",
        "seeds/rates.csv": "seed",
        "macros/cents.sql": "upstream",
        "macros/stg.sql": "upstream",
    }


def test_a_test_is_made_of_what_it_tests_too() -> None:
    files = files_of(ALL, "test.p.unique_fct")
    assert files["models/fct.sql"] == "model" and files["models/all.yml"] == "yaml"
    assert files["macros/unique.sql"] == files["macros/stg.sql"] == "macro"
    assert files["models/stg.sql"] == files["macros/cents.sql"] == "upstream"
    assert "models/other.sql" not in files


def test_a_test_of_several_models_has_them_upstream() -> None:
    files = files_of(ALL, "test.p.whole")
    assert files["tests/whole.sql"] == "model"
    assert files["models/fct.sql"] == files["models/other.sql"] == "upstream"


def test_a_seed_is_its_own_file_and_an_unknown_node_leaves_the_projects_files() -> None:
    assert files_of(ALL, "seed.p.rates") == PROJECT | {
        "seeds/rates.csv": "seed",
        "seeds/seeds.yml": "yaml",
    }
    assert files_of(ALL, "model.p.gone") == PROJECT
