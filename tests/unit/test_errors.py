"""The tree in errors.py is the whole tree, as its docstring draws it."""

from __future__ import annotations

import re

from mage_dbt import errors


def test_the_docstring_draws_every_error() -> None:
    drawn = set(re.findall(r"[├└│ ─]*\b([A-Z]\w+)\b", errors.__doc__ or ""))
    declared = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.WorkspaceError)
    }
    assert declared <= drawn


def test_every_error_says_what_to_do_when_it_knows() -> None:
    error = errors.NotFound("No run x.", "`mage-dbt runs` lists them.")
    assert str(error) == "No run x. `mage-dbt runs` lists them."


def test_near_names_are_suggested_and_far_ones_are_not() -> None:
    names = ["fct_orders", "fct_order_items", "dim_customers"]
    assert "fct_orders" in errors.did_you_mean("fct_order", names)
    assert errors.did_you_mean("zzz", names) == ""
