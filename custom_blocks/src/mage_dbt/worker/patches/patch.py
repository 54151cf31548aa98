"""One function of dbt that we replace, and the check that it is the one we know.

A replacement was written against dbt's source. Another source may do another thing, whatever the
version says: adapters and dbt-common have versions of their own. So each patch has the digests of
the sources that it was compared with, and is left out by itself where the installed one differs.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
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
        """Of the installed sources: 16 hexadecimal digits.

        Raises ImportError, AttributeError or OSError when one of them is not there to be read.
        """
        found = hashlib.sha256()
        for one in (self.target, *self.relies_on):
            found.update(inspect.getsource(inspect.unwrap(_function(one))).encode())
        return found.hexdigest()[:16]

    def fits(self) -> bool:
        """Whether dbt's own is one that this was compared with."""
        try:
            return self.digest() in self.sources
        except (ImportError, AttributeError, OSError, TypeError):
            return False

    def installed(self) -> bool:
        """Whether the target's module is there: a team's dbt may have another adapter."""
        try:
            importlib.import_module(self.target.split(":")[0])
        except ImportError:
            return False
        return True

    def apply(self, back: ExitStack | None = None) -> None:
        """Replaces it in this process; `back` gets what puts dbt's own back."""
        owner, name = _place(self.target)
        before = inspect.getattr_static(owner, name)
        if isinstance(before, (staticmethod, classmethod)):
            after: Any = type(before)(self.replace(before.__func__))
        else:
            after = self.replace(before)
        setattr(owner, name, after)
        if back is not None:
            back.callback(setattr, owner, name, before)


def _place(target: str) -> tuple[Any, str]:
    module, path = target.split(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for one in classes:
        owner = getattr(owner, one)
    return owner, name


def _function(target: str) -> Any:
    owner, name = _place(target)
    found = inspect.getattr_static(owner, name)
    return found.__func__ if isinstance(found, (staticmethod, classmethod)) else found


def taken(patches: Iterable[Patch], back: ExitStack | None = None) -> list[str]:
    """Applies those that fit; gives the names of those that do not. One whose module is not
    installed is neither: the team's dbt has another adapter."""
    differing = []
    for one in patches:
        if one.fits():
            one.apply(back)
        elif one.installed():
            differing.append(one.name)
    return differing
