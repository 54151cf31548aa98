"""A function of dbt that we replace, and the check that its source is one that we know.

A replacement is written against dbt's source. Another source may do something else, whatever the
version says: adapters and dbt-common have versions of their own. So each patch holds the digests of
the sources that it was compared with. It is left out by itself where the installed source differs.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Patch:
    """What takes the place of one function of dbt."""

    target: str
    """`module:Class.function` or `module:function`."""
    replace: Callable[[Any], Any]
    """Gives the replacement for dbt's own function."""
    sources: tuple[str, ...]
    """Digests (`digest`) of the target with what it relies on, one for each known source."""
    why: str
    """What dbt does there, and what it costs."""
    relies_on: tuple[str, ...] = ()
    """Other functions and classes of dbt whose source the replacement takes for granted."""

    @property
    def name(self) -> str:
        return self.target.split(":")[1]

    def digest(self) -> str:
        """The digest of the installed sources: 16 hexadecimal digits.

        Raises ImportError, AttributeError or OSError when one of them is not there to be read.
        """
        found = hashlib.sha256()
        for target in (self.target, *self.relies_on):
            found.update(_source(inspect.unwrap(_function(target))).encode())
        return found.hexdigest()[:16]

    def fits(self) -> bool:
        """Whether the installed source is one that this was compared with."""
        try:
            return self.digest() in self.sources
        except (ImportError, AttributeError, OSError, TypeError):
            return False

    def installed(self) -> bool:
        """Whether the target's module is installed: a team's dbt may have another adapter."""
        try:
            importlib.import_module(self.target.split(":")[0])
        except ImportError:
            return False
        return True

    def apply(self, back: ExitStack | None = None) -> None:
        """Replaces the function in this process; `back` restores dbt's own."""
        owner, name = _owner(self.target)
        before = inspect.getattr_static(owner, name)
        if isinstance(before, (staticmethod, classmethod)):
            after: Any = type(before)(self.replace(before.__func__))
        else:
            after = self.replace(before)
        setattr(owner, name, after)
        if back is not None:
            back.callback(setattr, owner, name, before)


@cache
def _source(function: Any) -> str:
    """Kept by function: a process that forks reads each source once for all its children."""
    return inspect.getsource(function)


def _owner(target: str) -> tuple[Any, str]:
    module, path = target.split(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for class_name in classes:
        owner = getattr(owner, class_name)
    return owner, name


def _function(target: str) -> Any:
    owner, name = _owner(target)
    found = inspect.getattr_static(owner, name)
    return found.__func__ if isinstance(found, (staticmethod, classmethod)) else found


def apply_fitting(patches: Iterable[Patch], back: ExitStack | None = None) -> list[str]:
    """Applies the patches that fit, and returns the names of those that do not.

    A patch whose module is not installed is neither: the team's dbt has another adapter.
    """
    patches = tuple(patches)
    differing = names_of_differing(patches)
    for patch in patches:
        if patch.fits():
            patch.apply(back)
    return differing


def names_of_differing(patches: Iterable[Patch]) -> list[str]:
    """The names of the patches that do not fit, though their module is installed."""
    return [patch.name for patch in patches if not patch.fits() and patch.installed()]
