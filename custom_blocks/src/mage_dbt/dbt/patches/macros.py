"""dbt's own macros, read once for all parses that are forked from this process.

Each parse reads the 477 macros of dbt and its adapter from their text: once to know their names,
once to know what they call, and once more for those that a run calls. Of the CPU in which dbt
parses a small project, 2 s, that is more than half. The text is the same for every commit.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import CodeType
from typing import Any

import dbt.include
import jinja2
from dbt_common.clients import jinja
from dbt_common.clients.jinja import BlockTag, extract_toplevel_blocks, get_environment
from dbt_common.utils import MACRO_PREFIX

from mage_dbt.dbt.patches.nodes import CALLED_BY_DBT
from mage_dbt.dbt.patches.patch import Patch

BLOCKS = ("macro", "materialization", "test", "data_test")
"""What dbt takes from a file of macros."""

IN_MOST_PROJECTS = ("materialization_(table|view|incremental|seed|test)_", "test_")
"""Beginnings of the names from which most projects' runs begin."""


class Macros:
    """What is known of dbt's own macros, by their text."""

    def __init__(self) -> None:
        self._read: dict[str, jinja2.nodes.Template] = {}
        self._compiled: dict[str, CodeType] = {}

    def learn(self, folders: Iterable[str] = tuple(dbt.include.__path__)) -> None:
        """Reads all of them, and compiles those that most projects' runs call.

        What cannot be read is left to dbt, which says why.
        """
        environment = get_environment()
        texts: dict[str, str] = {}
        for file in _files(folders):
            with _left_out(file):
                for text in _texts(file):
                    with _left_out(file):
                        read = environment.parse(text)
                        self._read[text] = read
                        if (macro := read.find(jinja2.nodes.Macro)) is not None:
                            texts[macro.name.removeprefix(MACRO_PREFIX)] = text
        for name in _in_most_projects(texts):
            with _left_out(name):
                # From its text again: compiling changes what was read.
                self._compiled[texts[name]] = environment.compile(texts[name])

    def patches(self) -> tuple[Patch, ...]:
        return (
            Patch(
                "jinja2.environment:Environment.parse",
                self._parse,
                sources=("5a5b4f2b6c39c943",),
                why="Each parse of a project reads the text of every macro of dbt's own, twice.",
                relies_on=(
                    "dbt_common.clients.jinja:get_environment",
                    "dbt_common.clients.jinja:MacroFuzzEnvironment",
                    "dbt_common.clients.jinja:parse",
                    "dbt.clients.jinja_static:statically_extract_macro_calls",
                    "dbt.parser.macros:MacroParser.parse_unparsed_macros",
                ),
            ),
            Patch(
                "dbt_common.clients.jinja:get_template",
                self._template,
                sources=("5c9aff1022ac5b9b",),
                why="Each parse of a project compiles the macros of dbt's own that its runs call.",
                relies_on=(
                    "dbt_common.clients.jinja:get_environment",
                    "dbt_common.clients.jinja:MacroFuzzEnvironment",
                    "jinja2.environment:Environment.from_string",
                    "jinja2.environment:Environment.compile",
                ),
            ),
        )

    def _parse(self, original: Any) -> Any:
        kind = type(get_environment())

        @wraps(original)
        def parse(environment: Any, source: Any, *arguments: Any, **options: Any) -> Any:
            # Its readers change nothing of it; dbt's own tests share it in the same way.
            known = self._read.get(source) if type(environment) is kind else None
            return known or original(environment, source, *arguments, **options)

        return parse

    def _template(self, original: Any) -> Any:
        @wraps(original)
        def template(
            string: Any,
            ctx: dict[str, Any],
            node: Any = None,
            capture_macros: bool = False,
            native: bool = False,
        ) -> Any:
            ours = not native and not jinja.MACRO_DEBUGGING  # which writes the code to files
            code = self._compiled.get(str(string)) if ours else None
            if code is None:
                return original(string, ctx, node, capture_macros, native)
            environment = get_environment(node, capture_macros)
            known = environment.make_globals(ctx)
            return environment.template_class.from_code(environment, code, known)

        return template


@contextmanager
def _left_out(what: Path | str) -> Iterator[None]:
    """What fails in this block is left to dbt, and said in the log."""
    try:
        yield
    except Exception as error:
        print(f"Not read once for all parses: {what}: {error!r}", file=sys.stderr)


def _files(folders: Iterable[str]) -> Iterator[Path]:
    """Those with the macros that come with dbt and its adapters."""
    for folder in map(Path, folders):
        yield from sorted((*folder.glob("*/macros/**/*.sql"), *folder.glob("*/tests/**/*.sql")))


def _texts(file: Path) -> Iterator[str]:
    """The macros of one file."""
    text = file.read_text("utf-8")
    for block in extract_toplevel_blocks(text, set(BLOCKS), collect_raw_data=False):
        if isinstance(block, BlockTag) and block.full_block:
            yield block.full_block


def _in_most_projects(texts: Mapping[str, str]) -> set[str]:
    """The names of the macros that most projects' runs may call, by the words of their texts.

    What is called is `create_table_as`, and what it stands for `postgres__create_table_as`.
    """
    meant: dict[str, list[str]] = defaultdict(list)
    for name in texts:
        meant[name].append(name)
        meant[name.partition("__")[2]].append(name)
    begin = re.compile("|".join(IN_MOST_PROJECTS))
    waiting = [name for name in texts if begin.match(name) or name in CALLED_BY_DBT]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            for word in set(re.findall(r"\w+", texts[name])):
                waiting += meant.get(word, ())
    return seen
