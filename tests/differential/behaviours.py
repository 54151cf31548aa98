"""What the differential test does with each project of `tests/projects/behaviours`.

A behaviour is one tiny project and the steps done on it in turn. Each step finds in the warehouse
what the one before left, and may bring other variables, another environment or another commit.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

PROJECTS = Path(__file__).parents[1] / "projects" / "behaviours"

NOTHING: Mapping[str, Any] = MappingProxyType({})

DAYS = ("--event-time-start", "2024-01-01", "--event-time-end", "2024-01-04")
"""For a microbatch: without them it runs from its beginning to today."""

ALONE = ("--threads", "1")
"""Where the order is seen: rows of a journal, and unit tests, one of which failing skips others."""

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """One request, and what changes in the world before it."""

    command: str = "build"
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    sql: str = ""
    """Run in the warehouse before the step."""
    files: Mapping[str, str] = field(default_factory=dict)
    """What a new commit, read from this step on, writes over the files of the one before."""
    again: bool = False
    """Runs what the step before left: `dbt retry`, and for a worker a rerun."""

    @property
    def fails_fast(self) -> bool:
        return "--fail-fast" in self.flags or self.environ.get("DBT_FAIL_FAST") == "true"

    def said(self) -> str:
        """In one line, for a person who is to repeat it."""
        words = [self.command, *(f"-s {one}" for one in self.select), *self.flags]
        words += [f"--exclude {one}" for one in self.exclude]
        words += ["(again)"] if self.again else []
        words += [f"--vars {dict(self.variables)}"] if self.variables else []
        words += [f"{name}={value}" for name, value in self.environ.items()]
        words += [f"sql: {self.sql}"] if self.sql else []
        words += [f"commit: {path}" for path in self.files]
        return " ".join(words)


@dataclass(frozen=True)
class Behaviour:
    name: str
    steps: tuple[Step, ...]
    since: tuple[int, int] = (1, 10)
    """The first version of dbt that has it."""
    differs: str = ""
    """Why our workers are known not to agree; empty for all but what docs/differential.md tells."""
    parts: tuple[str, ...] = ()
    """Other behaviours whose projects are packages of this one, in its folder `parts`."""
    also: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values of variables that only random tests try."""

    @property
    def project(self) -> Path:
        return PROJECTS / self.name

    def copy(self, folder: Path) -> None:
        """Its project, with those of its parts, in a folder that is not there yet."""
        shutil.copytree(self.project, folder)
        for one in self.parts:
            shutil.copytree(PROJECTS / one, folder / "parts" / one)

    def models(self) -> list[str]:
        """The names of its models."""
        folders = [self.project, *(PROJECTS / one for one in self.parts)]
        found = (path for folder in folders for path in folder.glob("models/**/*.sql"))
        return sorted(path.stem for path in found)

    def random_steps(self, chance: random.Random) -> Iterator[Step]:
        """Without end: what the steps hold, put together anew, and models of the project."""
        steps = [one for one in self.steps if not one.again]
        values: dict[str, list[Any]] = {name: list(many) for name, many in self.also.items()}
        environ: dict[str, list[str]] = {}
        for one in steps:
            for name, value in one.variables.items():
                values.setdefault(name, []).append(value)
            for name, value in one.environ.items():
                environ.setdefault(name, []).append(value)
        commits = [one.files for one in steps if one.files]
        needed = steps[0].sql
        flags = ALONE if any(one.flags == ALONE for one in steps) else ()
        while True:
            like = chance.choice(steps)
            select = like.select
            if chance.random() < 0.3 and not select:
                select = (chance.choice(["", "+", "@"]) + chance.choice(self.models()),)
            yield replace(
                like,
                select=select,
                flags=like.flags if like.flags[: len(flags)] == flags else (*flags, *like.flags),
                variables=_some(chance, values),
                environ=_some(chance, environ),
                sql=needed,
                files=chance.choice(commits) if commits and chance.random() < 0.3 else NOTHING,
            )
            needed = ""


def _some(chance: random.Random, many: Mapping[str, list[T]]) -> dict[str, T]:
    """Each name with one of its values, or left out."""
    return {name: chance.choice(them) for name, them in many.items() if chance.random() < 0.6}


def with_variables(**variables: Any) -> Step:
    return Step(variables=variables)


def with_environment(**environ: str) -> Step:
    return Step(environ=environ)


BY_HAND = "create schema if not exists by_hand; drop table if exists by_hand.numbers cascade; "

BEHAVIOURS = (
    Behaviour(
        "together",
        (
            Step(
                flags=(*ALONE, *DAYS),
                sql=f"{BY_HAND}create table by_hand.numbers as select 5 as n",
            ),
            Step(
                flags=(*ALONE, *DAYS, "--store-failures"),
                variables={
                    **{"generation": 2, "days": 4, "factor": 3, "number": 2, "size": 7, "most": 1},
                    **{"side": "right", "shape": "table", "tag": "weekly", "note": "noted"},
                    **{"switch": False, "by_yaml": "no", "hidden": True, "three": "table"},
                    **{"who": "somebody", "loud": True, "seed_schema": "other", "least": 60},
                    **{"readers": ["mage", "ledger"], "project_readers": [], "said": "second"},
                    **{"kept_by": "word", "index_type": "btree", "words": ["a", "b", "c"]},
                    **{"amount": "10.5", "chosen": 2, "more": True, "kept": True},
                },
            ),
            Step(
                flags=(*ALONE, *DAYS, "--full-refresh"),
                variables={
                    **{"divisor": 0, "expected": "c", "count": 7, "becoming": "table"},
                    **{"readers": ["nobody_there"], "error_if": 1, "severity": "warn"},
                },
                environ={"PLACE": "here", "MORE": "yes", "UNIT_WORD": "+"},
            ),
        ),
        parts=(
            "comments",
            "disabled",
            "environment",
            "ephemeral",
            "exposures",
            "fail_fast",
            "failing_tests",
            "grants",
            "hooks",
            "incremental",
            "indexes",
            "microbatch",
            "naming",
            "overrides",
            "queries",
            "retries",
            "samples",
            "seeds",
            "selectors",
            "snapshots",
            "surroundings",
            "threads",
            "unit_tests",
            "variables",
            "versions",
        ),
    ),
    Behaviour(
        "incremental",
        (
            Step(),
            with_variables(days=3),
            with_variables(days=4, generation=2),
            Step(flags=("--full-refresh",), exclude=("appended+",)),
        ),
    ),
    Behaviour(
        "microbatch",
        (
            Step(flags=DAYS),
            Step(flags=DAYS, variables={"factor": 3}),
            Step(command="run", flags=DAYS, variables={"divisor": 0}),
        ),
    ),
    Behaviour(
        "snapshots",
        (Step(), with_variables(generation=2), Step(command="snapshot"), with_variables()),
    ),
    Behaviour(
        "seeds",
        (
            Step(),
            Step(variables={"least": 60, "seed_schema": "other", "year": 2025}),
            Step(
                flags=("--full-refresh",),
                files={"seeds/countries.csv": "code,name,population,area\nIT,Italia,59,302\n"},
            ),
            Step(command="seed", variables={"switched": False}),
        ),
    ),
    Behaviour(
        "hooks",
        (
            Step(flags=ALONE),
            Step(flags=ALONE, variables={"who": "somebody", "loud": True, "last_word": "the end"}),
            Step(command="run", select=("hooked+",), flags=ALONE),
            Step(flags=ALONE, variables={"divisor": 0}),
            Step(flags=ALONE, variables={"start_divisor": 0}),
        ),
    ),
    Behaviour(
        "naming",
        (
            Step(),
            with_variables(prefix="team", suffix="_x"),
            Step(environ={"NAMING_PREFIX": "of_environment"}, variables={"kept": True}),
            Step(),
        ),
    ),
    Behaviour(
        "unit_tests",
        (
            Step(flags=ALONE),
            Step(flags=ALONE, variables={"more": True}),
            Step(flags=ALONE, variables={"expected": "c"}),
            Step(command="test", flags=ALONE, variables={"factor": 3, "more": True}),
            Step(flags=ALONE, environ={"UNIT_WORD": "+"}),
        ),
    ),
    Behaviour(
        "versions",
        (
            Step(),
            with_variables(amount="10.5", chosen=2),
            with_variables(least=20, chosen=3, count=7),
            Step(select=("orders.v2+",)),
        ),
    ),
    Behaviour(
        "queries",
        (
            Step(),
            Step(
                variables={"words": ["a", "b", "c"], "number": 2},
                sql="create table analytics.made_by_hand (id int); create schema elsewhere",
            ),
            Step(command="run", select=("pivoted+",)),
            # What else dbt compiles before it ends for the one it cannot compile is chance.
            Step(command="compile", variables={"number": 3}, exclude=("refused",)),
            Step(command="compile", variables={"number": 3}, select=("refused",)),
            with_variables(number=3),
        ),
    ),
    Behaviour(
        "disabled",
        (
            Step(),
            with_variables(switch=False, tested=False),
            with_variables(by_yaml="no"),
            with_variables(by_yaml="no", needs_it=True),
            with_variables(by_project=False),
            with_variables(needs_it=True),
        ),
    ),
    Behaviour(
        "variables",
        (
            Step(),
            with_variables(side="right", of_package=7, deep={"a": {"b": "x"}}),
            with_variables(tag="weekly", shape="table", left_is="table", note="it is noted"),
            with_variables(numbers=[4, 5], severity="warn", source_table="pg_class"),
            Step(select=("tag:weekly",), variables={"tag": "weekly", "of_project": 5}),
            with_variables(ask=True),
            with_variables(ask=True, must_be_given=3, right_schema="elsewhere"),
        ),
    ),
    Behaviour(
        "environment",
        (
            Step(),
            with_environment(PLACE="here", EXPECTED="here", LATE="later"),
            with_environment(MORE="yes", SHAPE="table", LATE_SCHEMA="afterwards"),
            with_environment(STRICT="yes"),
            with_environment(DBT_FULL_REFRESH="true", EXPECTED="x"),
            Step(),
        ),
    ),
    Behaviour(
        "exposures",
        (Step(), Step(select=("+exposure:weekly",)), with_variables(hidden=True)),
    ),
    Behaviour(
        "failing_tests",
        (
            Step(),
            Step(flags=("--store-failures",), variables={"size": 9, "broken": True}),
            with_variables(size=2, error_if=1, below=100),
            Step(command="test", variables={"most": 1}),
        ),
        also={"size": (0, 1, 12), "most": (0, 100)},
    ),
    Behaviour(
        "fail_fast",
        (
            Step(flags=ALONE),
            Step(flags=(*ALONE, "--fail-fast"), variables={"divisor": 0}),
            Step(variables={"divisor": 0}),
            Step(flags=ALONE, variables={"divisor": 0}, environ={"DBT_FAIL_FAST": "true"}),
            Step(select=("b", "f"), variables={"divisor": 2}),
        ),
    ),
    Behaviour(
        "retries",
        (
            Step(sql=f"{BY_HAND}create table by_hand.numbers as select 0 as n"),
            Step(again=True, sql="update by_hand.numbers set n = 5"),
            Step(sql="insert into by_hand.numbers values (5)"),
            Step(again=True, sql="delete from by_hand.numbers where ctid = '(0,2)'"),
        ),
    ),
    Behaviour(
        "samples",
        (
            Step(flags=("--empty",)),
            Step(),
            Step(flags=("--sample", "{'start': '2024-01-02', 'end': '2024-01-04'}")),
            Step(command="run", flags=("--empty",), select=("counted", "of_between")),
            Step(
                command="run",
                select=("derived+",),
                flags=("--sample", "{'start': '2024-01-03', 'end': '2024-01-06'}"),
            ),
        ),
    ),
    Behaviour(
        "grants",
        (
            Step(),
            with_variables(readers=["mage", "ledger"], project_readers=[]),
            with_variables(readers=[]),
            with_variables(readers=["nobody_there"]),
        ),
    ),
    Behaviour(
        "comments",
        (Step(), Step(variables={"of": "Ana's team", "said": "second"}), Step(command="seed")),
    ),
    Behaviour(
        "ephemeral",
        (Step(), with_variables(number=2), with_variables(three="table"), Step(command="compile")),
    ),
    Behaviour(
        "indexes",
        (
            Step(),
            with_variables(kept_by="word", index_type="btree"),
            with_variables(on_change="continue", unlogged=True),
            with_variables(kept_by="word", on_change="fail"),
            Step(flags=("--full-refresh",), variables={"becoming": "table"}),
        ),
    ),
    Behaviour(
        "packages",
        (
            Step(),
            with_variables(word="given", unwanted=True, dispatched=False),
            with_variables(size=2, lib_is="table"),
            Step(command="run", select=("package:lib",)),
        ),
    ),
    Behaviour(
        "surroundings",
        (
            Step(),
            Step(command="run", flags=("--full-refresh",)),
            Step(select=("seen", "counted+"), exclude=("walked",)),
            Step(select=("seen", "walked"), flags=("--store-failures",)),
        ),
    ),
    Behaviour(
        "parsed_flags",
        (Step(), Step(command="run", flags=("--full-refresh",))),
        differs="a commit is parsed once, before anybody gives flags, as with dbt's partial parse",
    ),
    Behaviour(
        "overrides",
        (Step(), with_variables(short=True, remark="theirs"), with_variables(most=0)),
    ),
    Behaviour(
        "selectors",
        (
            Step(),
            Step(select=("weekly",)),
            Step(select=("daily",), flags=("--indirect-selection", "eager")),
            Step(command="test", exclude=("weekly",)),
        ),
    ),
    Behaviour(
        "threads",
        (
            Step(flags=("--threads", "8")),
            Step(flags=("--threads", "1"), variables={"divisor": 0}),
            Step(flags=("--threads", "8"), variables={"divisor": 0}),
        ),
    ),
    Behaviour(
        "functions",
        (Step(), with_variables(factor=3), Step(select=("uses",))),
        since=(1, 11),
    ),
)
