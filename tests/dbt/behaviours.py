"""What the differential test does with each project of `tests/projects/behaviours`.

A behaviour is one tiny project and the acts done on it in turn, each on what the act before left in
the warehouse, with other variables, another environment or another commit.
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
class Act:
    """One request, and what changes in the world before it."""

    command: str = "build"
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    sql: str = ""
    """Run in the warehouse before the act."""
    files: Mapping[str, str] = field(default_factory=dict)
    """What a new commit, read from this act on, writes over the files of the one before."""
    again: bool = False
    """Runs what the act before left: `dbt retry`, and for a worker a rerun."""

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
    acts: tuple[Act, ...]
    since: tuple[int, int] = (1, 10)
    """The first version of dbt that has it."""
    differs: str = ""
    """Why our workers are known not to agree; empty for all but what docs/differential.md tells."""
    parts: tuple[str, ...] = ()
    """Other behaviours whose projects are packages of this one, in its folder `parts`."""
    also: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values of variables that only a campaign tries."""

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

    def random_acts(self, chance: random.Random) -> Iterator[Act]:
        """Without end: what the acts hold, put together anew, and models of the project."""
        acts = [one for one in self.acts if not one.again]
        values: dict[str, list[Any]] = {name: list(many) for name, many in self.also.items()}
        environ: dict[str, list[str]] = {}
        for one in acts:
            for name, value in one.variables.items():
                values.setdefault(name, []).append(value)
            for name, value in one.environ.items():
                environ.setdefault(name, []).append(value)
        commits = [one.files for one in acts if one.files]
        needed = acts[0].sql
        flags = ALONE if any(one.flags == ALONE for one in acts) else ()
        while True:
            like = chance.choice(acts)
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


def with_variables(**variables: Any) -> Act:
    return Act(variables=variables)


def with_environment(**environ: str) -> Act:
    return Act(environ=environ)


BY_HAND = "create schema if not exists by_hand; drop table if exists by_hand.numbers cascade; "

BEHAVIOURS = (
    Behaviour(
        "together",
        (
            Act(
                flags=(*ALONE, *DAYS),
                sql=f"{BY_HAND}create table by_hand.numbers as select 5 as n",
            ),
            Act(
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
            Act(
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
            Act(),
            with_variables(days=3),
            with_variables(days=4, generation=2),
            Act(flags=("--full-refresh",), exclude=("appended+",)),
        ),
    ),
    Behaviour(
        "microbatch",
        (
            Act(flags=DAYS),
            Act(flags=DAYS, variables={"factor": 3}),
            Act(command="run", flags=DAYS, variables={"divisor": 0}),
        ),
    ),
    Behaviour(
        "snapshots",
        (Act(), with_variables(generation=2), Act(command="snapshot"), with_variables()),
    ),
    Behaviour(
        "seeds",
        (
            Act(),
            Act(variables={"least": 60, "seed_schema": "other", "year": 2025}),
            Act(
                flags=("--full-refresh",),
                files={"seeds/countries.csv": "code,name,population,area\nIT,Italia,59,302\n"},
            ),
            Act(command="seed", variables={"switched": False}),
        ),
    ),
    Behaviour(
        "hooks",
        (
            Act(flags=ALONE),
            Act(flags=ALONE, variables={"who": "somebody", "loud": True, "last_word": "the end"}),
            Act(command="run", select=("hooked+",), flags=ALONE),
            Act(flags=ALONE, variables={"divisor": 0}),
            Act(flags=ALONE, variables={"start_divisor": 0}),
        ),
    ),
    Behaviour(
        "naming",
        (
            Act(),
            with_variables(prefix="team", suffix="_x"),
            Act(environ={"NAMING_PREFIX": "of_environment"}, variables={"kept": True}),
            Act(),
        ),
    ),
    Behaviour(
        "unit_tests",
        (
            Act(flags=ALONE),
            Act(flags=ALONE, variables={"more": True}),
            Act(flags=ALONE, variables={"expected": "c"}),
            Act(command="test", flags=ALONE, variables={"factor": 3, "more": True}),
            Act(flags=ALONE, environ={"UNIT_WORD": "+"}),
        ),
    ),
    Behaviour(
        "versions",
        (
            Act(),
            with_variables(amount="10.5", chosen=2),
            with_variables(least=20, chosen=3, count=7),
            Act(select=("orders.v2+",)),
        ),
    ),
    Behaviour(
        "queries",
        (
            Act(),
            Act(
                variables={"words": ["a", "b", "c"], "number": 2},
                sql="create table analytics.made_by_hand (id int); create schema elsewhere",
            ),
            Act(command="run", select=("pivoted+",)),
            # What else dbt compiles before it ends for the one it cannot compile is chance.
            Act(command="compile", variables={"number": 3}, exclude=("refused",)),
            Act(command="compile", variables={"number": 3}, select=("refused",)),
            with_variables(number=3),
        ),
    ),
    Behaviour(
        "disabled",
        (
            Act(),
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
            Act(),
            with_variables(side="right", of_package=7, deep={"a": {"b": "x"}}),
            with_variables(tag="weekly", shape="table", left_is="table", note="it is noted"),
            with_variables(numbers=[4, 5], severity="warn", source_table="pg_class"),
            Act(select=("tag:weekly",), variables={"tag": "weekly", "of_project": 5}),
            with_variables(ask=True),
            with_variables(ask=True, must_be_given=3, right_schema="elsewhere"),
        ),
    ),
    Behaviour(
        "environment",
        (
            Act(),
            with_environment(PLACE="here", EXPECTED="here", LATE="later"),
            with_environment(MORE="yes", SHAPE="table", LATE_SCHEMA="afterwards"),
            with_environment(STRICT="yes"),
            with_environment(DBT_FULL_REFRESH="true", EXPECTED="x"),
            Act(),
        ),
    ),
    Behaviour(
        "exposures",
        (Act(), Act(select=("+exposure:weekly",)), with_variables(hidden=True)),
    ),
    Behaviour(
        "failing_tests",
        (
            Act(),
            Act(flags=("--store-failures",), variables={"size": 9, "broken": True}),
            with_variables(size=2, error_if=1, below=100),
            Act(command="test", variables={"most": 1}),
        ),
        also={"size": (0, 1, 12), "most": (0, 100)},
    ),
    Behaviour(
        "fail_fast",
        (
            Act(flags=ALONE),
            Act(flags=(*ALONE, "--fail-fast"), variables={"divisor": 0}),
            Act(variables={"divisor": 0}),
            Act(flags=ALONE, variables={"divisor": 0}, environ={"DBT_FAIL_FAST": "true"}),
            Act(select=("b", "f"), variables={"divisor": 2}),
        ),
    ),
    Behaviour(
        "retries",
        (
            Act(sql=f"{BY_HAND}create table by_hand.numbers as select 0 as n"),
            Act(again=True, sql="update by_hand.numbers set n = 5"),
            Act(sql="insert into by_hand.numbers values (5)"),
            Act(again=True, sql="delete from by_hand.numbers where ctid = '(0,2)'"),
        ),
    ),
    Behaviour(
        "samples",
        (
            Act(flags=("--empty",)),
            Act(),
            Act(flags=("--sample", "{'start': '2024-01-02', 'end': '2024-01-04'}")),
            Act(command="run", flags=("--empty",), select=("counted", "of_between")),
            Act(
                command="run",
                select=("derived+",),
                flags=("--sample", "{'start': '2024-01-03', 'end': '2024-01-06'}"),
            ),
        ),
    ),
    Behaviour(
        "grants",
        (
            Act(),
            with_variables(readers=["mage", "ledger"], project_readers=[]),
            with_variables(readers=[]),
            with_variables(readers=["nobody_there"]),
        ),
    ),
    Behaviour(
        "comments",
        (Act(), Act(variables={"of": "Ana's team", "said": "second"}), Act(command="seed")),
    ),
    Behaviour(
        "ephemeral",
        (Act(), with_variables(number=2), with_variables(three="table"), Act(command="compile")),
    ),
    Behaviour(
        "indexes",
        (
            Act(),
            with_variables(kept_by="word", index_type="btree"),
            with_variables(on_change="continue", unlogged=True),
            with_variables(kept_by="word", on_change="fail"),
            Act(flags=("--full-refresh",), variables={"becoming": "table"}),
        ),
    ),
    Behaviour(
        "packages",
        (
            Act(),
            with_variables(word="given", unwanted=True, dispatched=False),
            with_variables(size=2, lib_is="table"),
            Act(command="run", select=("package:lib",)),
        ),
    ),
    Behaviour(
        "surroundings",
        (
            Act(),
            Act(command="run", flags=("--full-refresh",)),
            Act(select=("seen", "counted+"), exclude=("walked",)),
            Act(select=("seen", "walked"), flags=("--store-failures",)),
        ),
    ),
    Behaviour(
        "parsed_flags",
        (Act(), Act(command="run", flags=("--full-refresh",))),
        differs="a commit is parsed once, before anybody gives flags, as with dbt's partial parse",
    ),
    Behaviour(
        "overrides",
        (Act(), with_variables(short=True, remark="theirs"), with_variables(most=0)),
    ),
    Behaviour(
        "selectors",
        (
            Act(),
            Act(select=("weekly",)),
            Act(select=("daily",), flags=("--indirect-selection", "eager")),
            Act(command="test", exclude=("weekly",)),
        ),
    ),
    Behaviour(
        "threads",
        (
            Act(flags=("--threads", "8")),
            Act(flags=("--threads", "1"), variables={"divisor": 0}),
            Act(flags=("--threads", "8"), variables={"divisor": 0}),
        ),
    ),
    Behaviour(
        "functions",
        (Act(), with_variables(factor=3), Act(select=("uses",))),
        since=(1, 11),
    ),
)
