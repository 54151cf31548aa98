"""Each function of dbt that is replaced is the one that its replacement was compared with."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mage_dbt.dbt.patches import all_patches, compare_sources
from mage_dbt.dbt.patches.patch import Patch, apply_fitting
from mage_dbt.settings import CHECKOUT

PATCHES = all_patches()

PAGE = CHECKOUT / "docs" / "dbt-patches.md"


@pytest.fixture
def back() -> Iterator[ExitStack]:
    """What is replaced in the test is dbt's own after it."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_the_installed_dbt_is_the_one_that_was_compared(patch: Patch) -> None:
    assert patch.digest() in patch.sources


def test_a_process_that_has_compared_the_sources_reads_none_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor do its forks: the zygote compares, and each process that parses is forked from it."""
    compare_sources()

    def read(_: object) -> str:
        raise AssertionError("a source was read again")

    monkeypatch.setattr(inspect, "getsource", read)
    assert all(patch.fits() for patch in all_patches())


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_another_source_of_dbts_is_left_alone(patch: Patch, back: ExitStack) -> None:
    def another(*_: object) -> None:
        """Of another dbt."""

    Patch(patch.target, lambda _: another, (), "").apply(back)
    assert not patch.fits()
    assert apply_fitting([patch], back) == [patch.name]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_source_that_a_patch_relies_on_counts_too(patch: Patch, back: ExitStack) -> None:
    def another(*_: object) -> None:
        """Of another dbt."""

    for one in patch.relies_on:
        with ExitStack() as meanwhile:
            Patch(one, lambda _: another, (), "").apply(meanwhile)
            assert not patch.fits(), one
        assert patch.fits()


@pytest.mark.parametrize("target", ["dbt.no_module:x", "dbt.tracking:User.nothing", "sys:exit"])
def test_what_is_not_there_or_cannot_be_read_does_not_fit(target: str) -> None:
    assert not Patch(target, lambda original: original, ("0" * 16,), "").fits()


def test_a_patch_for_an_adapter_that_is_not_installed_is_no_difference() -> None:
    gone = Patch("dbt.adapters.nowhere.impl:Adapter.x", lambda original: original, (), "")
    assert apply_fitting([gone]) == []


def test_static_and_class_methods_stay_what_they_are(back: ExitStack) -> None:
    for patch in PATCHES:
        module, path = patch.target.split(":")
        owner = __import__(module, fromlist=["x"])
        for part in path.split(".")[:-1]:
            owner = getattr(owner, part)
        before = vars(owner)[path.split(".")[-1]]
        with ExitStack() as meanwhile:
            patch.apply(meanwhile)
            after = vars(owner)[path.split(".")[-1]]
            if isinstance(before, (staticmethod, classmethod)):
                assert type(after) is type(before), patch.target
        assert vars(owner)[path.split(".")[-1]] is before
        assert isinstance(before, (staticmethod, classmethod, types.FunctionType))


def test_the_page_lists_every_patch_with_what_dbt_does_there() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(patch.target.replace(":", " "), patch.why) for patch in PATCHES]
