"""Makes the dbt project that is measured: any size, the same for the same seed.

It looks like a project that has grown: a tenth of its models are views on seeds, the others are
tables that read one to three earlier models; properties stand in a file a folder; each model has
two tests. Tables are small, because it is dbt that is measured and not the warehouse.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

PROFILE = "bench"

SEEDS = 5
SEED_ROWS = 40
MODELS_IN_A_FOLDER = 25
TESTS_OF_A_MODEL = 2
FEWEST_MODELS = 3

MACRO = """{% macro cents(column) %}round(100 * {{ column }})::bigint{% endmacro %}
"""


@dataclass(frozen=True)
class Project:
    """A generated project on the disk."""

    folder: Path
    models: int
    seed: int
    measured: str
    """The table that is built alone, by its name: it reads other tables, and others read it."""

    @property
    def nodes(self) -> int:
        """What a full build runs: seeds, models and tests."""
        return SEEDS + self.models * (1 + TESTS_OF_A_MODEL)


def generate(folder: Path, models: int, seed: int, hub_readers: int = 0) -> Project:
    """Writes the project into `folder`, which may not exist yet.

        The last `hub_readers` tables also read the first table, `hub`. Raises ValueError for fewer
    than FEWEST_MODELS.
    """
    if models < FEWEST_MODELS:
        raise ValueError(f"A project to be measured has at least {FEWEST_MODELS} models.")
    chance = random.Random(f"{seed}/{models}")
    folder.mkdir(parents=True)
    (folder / "dbt_project.yml").write_text(
        f"name: bench\nversion: '1.0'\nprofile: {PROFILE}\n"
        "models:\n  bench:\n    +materialized: table\n"
    )
    (folder / "macros").mkdir()
    (folder / "macros" / "cents.sql").write_text(MACRO)
    (folder / "seeds").mkdir()
    for number in range(SEEDS):
        _seed(folder / "seeds" / f"raw_{number}.csv", chance)
    names = [f"model_{number:05}" for number in range(models)]
    views = max(1, models // 10)
    tables_read = set()
    for number, name in enumerate(names):
        place = folder / "models" / f"area_{number // MODELS_IN_A_FOLDER:03}"
        if number % MODELS_IN_A_FOLDER == 0:
            place.mkdir(parents=True)
            (place / "_models.yml").write_text("models:\n")
        if number < views:
            text = _view(f"raw_{chance.randrange(SEEDS)}")
        else:
            # Mostly near neighbours, as in a project that grew.
            begin = max(0, number - 60)
            read = sorted({names[chance.randrange(begin, number)] for _ in range(3)})
            if number >= models - hub_readers and number > views:
                read = [hub(models), *(name for name in read if name != hub(models))]
            tables_read |= set(read)
            text = _table(read)
        (place / f"{name}.sql").write_text(text)
        with (place / "_models.yml").open("a") as properties:
            properties.write(_properties(name))
    middle = max(views, models // 2)
    measured = next((one for one in names[middle:] if one in tables_read), names[middle])
    return Project(folder, models, seed, measured)


def hub(models: int) -> str:
    """The name of the first table of a project with so many models."""
    return f"model_{max(1, models // 10):05}"


def copy(project: Path, folder: Path) -> Path:
    """A copy of a project's files for one contender, so that none shares a target directory."""
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns(".git"))
    return folder


def _seed(file: Path, chance: random.Random) -> None:
    rows = [f"{number},{chance.randrange(10_000) / 100}" for number in range(1, SEED_ROWS + 1)]
    file.write_text("\n".join(["id,amount", *rows]) + "\n")


def _view(seed: str) -> str:
    return (
        "{{ config(materialized='view') }}\n\n"
        f"select id, amount, {{{{ cents('amount') }}}} as cents\nfrom {{{{ ref('{seed}') }}}}\n"
    )


def _table(read: list[str]) -> str:
    first, *others = read
    joins = "".join(
        f"left join {{{{ ref('{one}') }}}} as r{number} on r{number}.id = r0.id\n"
        for number, one in enumerate(others, 1)
    )
    amounts = " + ".join(
        ["r0.amount", *(f"coalesce(r{number}.amount, 0)" for number in range(1, len(read)))]
    )
    return (
        "with joined as (\n"
        f"select r0.id, ({amounts}) / {len(read)} as amount\n"
        f"from {{{{ ref('{first}') }}}} as r0\n{joins})\n\n"
        "select id, amount, {{ cents('amount') }} as cents\nfrom joined\nwhere amount >= 0\n"
    )


def _properties(name: str) -> str:
    return (
        f"  - name: {name}\n    description: The amounts of {name}, in units and in cents.\n"
        "    columns:\n"
        "      - name: id\n        description: One row each.\n"
        "        data_tests: [unique, not_null]\n"
        "      - name: amount\n        description: In units.\n"
    )
