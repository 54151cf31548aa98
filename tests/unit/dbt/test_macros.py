"""What is kept of dbt's own macros is what dbt would make of them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dbt.clients.jinja_static import statically_extract_macro_calls
from dbt_common.clients import jinja
from jinja2 import nodes

from mage_dbt.dbt.patches.macros import Macros
from mage_dbt.dbt.patches.patch import apply_fitting

CALLED_BY_A_TABLE = "{% macro default__get_create_table_as_sql(temporary, relation, sql) -%}"


@pytest.fixture(scope="module")
def macros() -> Macros:
    found = Macros()
    found.learn()
    return found


def dbts(text: str) -> nodes.Template:
    found: nodes.Template = jinja.get_environment().parse(text)
    return found


def made(template: Any) -> Any:
    """What a template's code defines, without where it lies in memory."""
    return {name for name in template.module.__dict__ if not name.startswith("_")}


def test_all_of_dbts_macros_are_read_and_those_of_most_runs_compiled(macros: Macros) -> None:
    assert len(macros._read) > 400
    assert 100 < len(macros._compiled) < len(macros._read) / 2
    assert [text for text in macros._compiled if text.startswith(CALLED_BY_A_TABLE)]


def test_what_was_read_is_what_dbt_reads_whatever_was_compiled_and_asked_since(
    macros: Macros,
) -> None:
    for text, known in macros._read.items():
        statically_extract_macro_calls(text, {})
        assert known == dbts(text)


def test_what_was_compiled_is_what_dbt_compiles(macros: Macros) -> None:
    for text, code in macros._compiled.items():
        assert code == jinja.get_environment().compile(text)


def test_dbt_finds_the_same_calls_and_templates_with_what_is_known(macros: Macros) -> None:
    before = {text: statically_extract_macro_calls(text, {}) for text in macros._read}
    with ExitStack() as back:
        assert apply_fitting(macros.patches(), back) == []
        for text, calls in before.items():
            assert jinja.parse(text) is macros._read[text]
            assert statically_extract_macro_calls(text, {}) == calls
        for text in macros._compiled:
            template = jinja.get_template(text, {"here": 1})
            assert template.globals["here"] == 1 and made(template)


def test_a_text_that_is_none_of_dbts_is_read_and_compiled_by_dbt(macros: Macros) -> None:
    text = "{% set ours = 1 %}select {{ ours + 1 }}"
    with ExitStack() as back:
        apply_fitting(macros.patches(), back)
        assert jinja.parse(text) == dbts(text)
        assert jinja.render_template(jinja.get_template(text, {}), {}) == "select 2"
        native = jinja.get_template("{{ 1 + 1 }}", {}, native=True)
        assert native.render({}) == "2"


def test_what_cannot_be_read_or_compiled_is_left_out_alone_and_logged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = tmp_path / "adapter" / "macros"
    files.mkdir(parents=True)
    texts = {
        "1_no_text": b"\xff\xfe\xff",
        "2_no_block": b"{% macro never_ends() %}",
        "3_no_jinja": b"{% macro test_odd() %}{{ 1 + }}{% endmacro %}",
        "4_no_code": b"{% macro test_unknown() %}{{ 1 | no_such_filter }}{% endmacro %}",
        "5_good": "{% macro test_good() %}\ud55c{% endmacro %}".encode(),
    }
    for name, text in texts.items():
        (files / f"{name}.sql").write_bytes(text)
    found = Macros()
    found.learn([str(tmp_path)])
    good = texts["5_good"].decode()
    assert good in found._read and good in found._compiled
    assert texts["4_no_code"].decode() not in found._compiled
    logged = capfd.readouterr().err
    for name in ("1_no_text", "2_no_block", "3_no_jinja"):
        assert f"{name}.sql" in logged, logged
    assert "test_unknown" in logged and "5_good" not in logged, logged
