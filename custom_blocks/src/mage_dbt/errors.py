"""Every error this package raises on purpose.

    WorkspaceError
    ├── SettingError          a setting is unknown, missing or not usable
    ├── MachineError          this machine lacks something: Python, a free port, room on the disk
    ├── AlreadyRunning        another start holds this workspace
    ├── RequestError          what was asked for cannot be done as asked (HTTP 422)
    │   ├── UnknownOperation
    │   ├── BadSelection      matches nothing, or is not dbt's syntax
    │   ├── BadVariable
    │   ├── BadCommand        a dbt command or flag that is not on the list
    │   └── BadCommit         not a commit of the synced branch, or one that dbt cannot parse
    ├── Malformed             the call itself cannot be read (HTTP 400)
    ├── Unauthorized          no token, or a wrong one (HTTP 401)
    ├── Forbidden             the caller may not do this (HTTP 403)
    ├── NotFound              no such run, node or model (HTTP 404)
    ├── Conflict              the state forbids it (HTTP 409)
    │   ├── NothingLeft       everything of the run to be rerun has succeeded since
    │   ├── KeyReused         the idempotency key belongs to another request
    │   └── PlanChanged       the plan is no longer the one that was previewed
    ├── WrongMethod           the address does not take this method (HTTP 405)
    ├── TooLarge              the call's body is larger than any honest one (HTTP 413)
    ├── NotJson               the call's body is of another type than JSON (HTTP 415)
    ├── TooManyRequests       the caller asks more often than it may (HTTP 429)
    ├── Unavailable           something it needs is not there now; try again (HTTP 503)
    │   ├── NoCommitReady
    │   ├── QueueFull         as many runs wait as may
    │   ├── RunnerUnreachable
    │   ├── LedgerUnreachable
    │   └── MageUnreachable
    ├── CommitBroken          dbt could not make this commit ready
    │   ├── PackagesMissing   a dbt package cannot be had; tried again if the network was away
    │   ├── ContentMissing    git keeps a part of it elsewhere (a submodule, Git LFS)
    │   └── PreparationFailed this machine failed, not the commit; tried again
    └── RunFailed             a run ended, and not every node passed
        └── RunCancelled

Each says what is wrong with which thing (`str(error)`) and what to do next (`error.hint`).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from unicodedata import normalize


class WorkspaceError(Exception):
    """Something failed that has no type of its own.

    The root of the tree. `hint` is what the reader can do about it, or empty.
    """

    status = 500

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def _render_traceback_(self) -> list[str]:
        """What IPython, and with it a notebook, shows in place of a traceback."""
        return [str(self)]


class SettingError(WorkspaceError):
    """A setting is unknown, missing or not usable."""


class MachineError(WorkspaceError):
    """This machine lacks something the workspace needs."""


class AlreadyRunning(WorkspaceError):
    """Another `scripts/start` holds this workspace."""


class RequestError(WorkspaceError):
    """What was asked for cannot be done as asked."""

    status = 422


class UnknownOperation(RequestError):
    """The request names an operation that does not exist."""


class BadSelection(RequestError):
    """The selection matches nothing, or is not dbt's syntax."""


class BadVariable(RequestError):
    """A variable that cannot be given: its name, its value, or to a rerun."""


class BadCommand(RequestError):
    """A dbt command or flag that is not on the list."""


class BadCommit(RequestError):
    """Not a commit of the synced branch, or one that dbt cannot parse."""


class Malformed(WorkspaceError):
    """The call itself cannot be read."""

    status = 400


class NotFound(WorkspaceError):
    """No such run, node or model."""

    status = 404


class Conflict(WorkspaceError):
    """The state of the thing forbids what was asked."""

    status = 409


class NothingLeft(Conflict):
    """Everything of the run to be rerun has succeeded since."""


class KeyReused(Conflict):
    """The idempotency key belongs to another request."""

    def __init__(self, message: str, hint: str = "", run: str = "") -> None:
        super().__init__(message, hint)
        self.run = run
        """The run that has the key."""


class PlanChanged(Conflict):
    """The plan is no longer the one that was previewed."""


class Unauthorized(WorkspaceError):
    """No token, or a wrong one."""

    status = 401


class Forbidden(WorkspaceError):
    """The caller may not do this."""

    status = 403


class TooLarge(WorkspaceError):
    """The call's body is larger than any honest one."""

    status = 413


class WrongMethod(WorkspaceError):
    """The address does not take this method."""

    status = 405


class NotJson(WorkspaceError):
    """The call's body is of another type than JSON."""

    status = 415


class TooManyRequests(WorkspaceError):
    """The caller asks more often than it may."""

    status = 429


class Unavailable(WorkspaceError):
    """Something it needs is not there now; the same call may work later."""

    status = 503


class NoCommitReady(Unavailable):
    """No commit of dbt-metric has parsed yet."""


class QueueFull(Unavailable):
    """As many runs wait as may."""


class RunnerUnreachable(Unavailable):
    """The runner does not answer."""


class LedgerUnreachable(Unavailable):
    """PostgreSQL, which holds the ledger, does not answer."""


class MageUnreachable(Unavailable):
    """Mage does not answer. Runs go on without it."""


class CommitBroken(WorkspaceError):
    """dbt could not make this commit ready; the message is dbt's."""

    by_itself = False
    """Whether it may come right without another commit: then it is tried again."""


class PackagesMissing(CommitBroken):
    """A dbt package of this commit cannot be had."""

    def __init__(self, message: str, hint: str = "", by_itself: bool = False) -> None:
        super().__init__(message, hint)
        self.by_itself = by_itself


class ContentMissing(CommitBroken):
    """Git keeps a part of this commit elsewhere, and it was not brought."""

    def __init__(self, message: str, hint: str = "", submodules: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.submodules = submodules
        """Paths of the submodules among it."""


class PreparationFailed(CommitBroken):
    """This machine could not make the commit ready: no room, no time, a mistake of ours."""

    by_itself = True


class RunFailed(WorkspaceError):
    """A run ended and not every node passed."""


class RunCancelled(RunFailed):
    """A run was cancelled."""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A sentence naming the nearest of `known`, or nothing when none is near.

    Each is named as it is written: a name that macOS has made looks the same and is another one.
    """
    written: dict[str, str] = {}
    for one in known:
        written.setdefault(normalize("NFC", one), one)
    same = written.get(normalize("NFC", wrong))
    if same is not None and same != wrong:
        return (
            f"Did you mean {same}? It looks the same, and its letters are put together otherwise "
            "(Unicode NFC and NFD; macOS makes such names): copy it from here."
        )
    near = get_close_matches(normalize("NFC", wrong), list(written), n=3, cutoff=0.6)
    return f"Did you mean {', '.join(written[one] for one in near)}?" if near else ""
