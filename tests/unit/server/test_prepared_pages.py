"""What a first look at a page would wait for is made ahead: its templates and its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import Environment

from mage_dbt.server.pages import assets, languages, rendering


@pytest.fixture(autouse=True)
def fresh() -> None:
    rendering.environment.cache_clear()
    assets._assets.cache_clear()


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_every_template_is_compiled_in_every_language(language: str) -> None:
    rendering.prepare()
    made = rendering.environment(language)
    assert made.cache is not None
    there = {path.name for path in rendering.TEMPLATES.glob("*.html")}
    compiled = {name for _, name in dict(made.cache.items())}
    assert there and compiled == there


def test_what_was_compiled_once_is_kept_for_every_language_and_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "COMPILED", tmp_path)
    first, second = languages.LANGUAGES
    for name in (templates := rendering.environment(first)).list_templates():
        templates.get_template(name)
    monkeypatch.setattr(Environment, "compile", None)
    rendering.environment(second).get_template("base.html")
    rendering.environment.cache_clear()
    rendering.prepare()


@pytest.mark.parametrize("folder", ["not there", "no folder"])
def test_where_nothing_can_be_kept_pages_are_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "no folder").touch()
    monkeypatch.setattr(rendering, "COMPILED", tmp_path / folder)
    rendering.prepare()


def test_the_files_are_packed() -> None:
    assets.prepare()
    assert assets._assets.cache_info().currsize == 1
    assets.address("page.css")
    assert assets._assets.cache_info().misses == 1
