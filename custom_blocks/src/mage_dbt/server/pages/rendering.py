"""How a template becomes HTML: the filters that it may use, and the texts of its language."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.bccache import Bucket, FileSystemBytecodeCache
from markupsafe import Markup

from mage_dbt.base.lists import listed
from mage_dbt.model.alert import DeliveryState
from mage_dbt.model.explanation import ChangesNote, Ending, FileRole, NoDiff
from mage_dbt.model.now import DayState, MageState, WhyNot
from mage_dbt.server.pages import directions, languages, sentences
from mage_dbt.server.pages.run_words import AnyRun, run_words

FILTERS = (
    *("when", "clock", "exact", "ago", "day", "duration", "number", "size", "short"),
    *("sentence", "advice", "causes", "ours", "anybodys"),
)
"""The filters of `Formats` in the templates."""

NAMED = (ChangesNote, DayState, DeliveryState, Ending, FileRole, MageState, NoDiff, WhyNot)
"""Whose members templates compare by name."""

TEMPLATES = Path(__file__).parent / "templates"

COMPILED = Path(__file__).parent / "__pycache__"
"""Where Python keeps what it compiled of these modules, under the same owner."""


class _Compiled(FileSystemBytecodeCache):
    """Compiled templates, kept where that is possible. The code is the same in every language."""

    def load_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):  # such as a read-only image, or a disk that is full
            super().dump_bytecode(bucket)


def render(language: str, template: str, values: Mapping[str, Any]) -> str:
    """The template's HTML. `values` has the `formats` of the call."""
    return environment(language).get_template(template).render(values)


@cache
def environment(language: str) -> Environment:
    """What the templates of this language are made with."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        bytecode_cache=_Compiled(str(COMPILED), "%s.jinja"),
        auto_reload=False,  # else every include looks at its file
        finalize=directions.settled,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )
    texts = languages.translations(language)
    found.install_gettext_translations(texts, newstyle=True)  # type: ignore[attr-defined]
    directions.isolate_values(found)
    found.globals.update({kind.__name__: kind for kind in NAMED})
    for name in FILTERS:
        found.filters[name] = _of_the_call(name)
    found.filters["listed"] = listed
    found.filters["run_words"] = _run_words
    found.filters["as_json"] = lambda value: Markup(json.dumps(value).replace("<", "\\u003c"))
    return found


def prepare() -> None:
    """Compiles the templates, 0.4 s of CPU where nothing is kept, so that who looks first after a
    start does not wait for it."""
    for language in languages.LANGUAGES:
        sentences.templates(language)
        templates = environment(language)
        for name in templates.list_templates():
            templates.get_template(name)


@pass_context
def _run_words(context: Any, run: AnyRun) -> str:
    """The run in a few words."""
    return run_words(run, context["formats"])


def _of_the_call(name: str) -> Callable[..., Any]:
    """A filter whose words depend on the reader and the time: `formats` of the call has it."""

    @pass_context
    def filtered(context: Any, value: Any, *arguments: Any, **named: Any) -> Any:
        return getattr(context["formats"], name)(value, *arguments, **named)

    return filtered
