"""Every error that this package raises on purpose.

    WorkspaceError            any failure without a type of its own (HTTP 500, as all without one)
    ├── SettingError          a setting is unknown, missing or unusable
    ├── MachineError          the machine lacks something: Python, a free port, room on the disk
    ├── AlreadyRunning        another start holds the workspace
    ├── Malformed             the call cannot be read (HTTP 400)
    ├── Unauthorized          no valid token (HTTP 401)
    ├── Forbidden             no right to do this (HTTP 403)
    ├── NotFound              no such run, node or model (HTTP 404)
    ├── WrongMethod           the address has another method (HTTP 405)
    ├── Conflict              the state does not allow it now (HTTP 409)
    │   ├── NothingLeft       nothing of the run is left to rerun
    │   ├── KeyReused         the idempotency key belongs to another request
    │   └── PlanChanged       the plan differs from the one previewed
    ├── TooLarge              the body is too large (HTTP 413)
    ├── NotJson               the body is not JSON (HTTP 415)
    ├── RequestError          the request cannot be carried out (HTTP 422)
    │   ├── UnknownOperation
    │   ├── BadSelection      matches nothing, or is not dbt's syntax
    │   ├── BadVariable
    │   ├── BadCommand        a dbt command or flag that is not allowed
    │   └── BadCommit         not on the synced branch, or dbt cannot parse it
    ├── TooManyRequests       too many calls in a minute (HTTP 429)
    ├── Unavailable           something it needs is unavailable; try again (HTTP 503)
    │   ├── NoCommitReady
    │   ├── QueueFull
    │   ├── RunnerUnreachable
    │   ├── LedgerUnreachable
    │   └── MageUnreachable
    ├── CommitBroken          a commit could not be made ready
    │   ├── PackagesMissing   a dbt package could not be fetched
    │   ├── ContentMissing    a submodule or large file was not fetched
    │   └── PreparationFailed the machine failed, not the commit; tried again
    │       └── DbtUnfit      the installed dbt lacks what the workspace relies on
    └── RunFailed             a run ended, and not every node passed
        └── RunCancelled

`str(error)` says what is wrong with which thing, `error.hint` what to do next. The first line of a
class's docstring is the title of its problem in the HTTP API, so it is written for callers.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from unicodedata import normalize


class WorkspaceError(Exception):
    """The request failed for a reason without a type of its own.

    The root of the tree. `hint` says what the reader can do, or is empty.
    """

    status = 500

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def _render_traceback_(self) -> list[str]:
        """IPython, and so a notebook, shows this in place of a traceback."""
        return [str(self)]


class SettingError(WorkspaceError):
    """A setting of the workspace is unknown, missing or unusable."""


class MachineError(WorkspaceError):
    """The workspace's machine lacks something it needs."""


class AlreadyRunning(WorkspaceError):
    """The workspace is already started."""


class RequestError(WorkspaceError):
    """The request cannot be carried out as it is."""

    status = 422


class UnknownOperation(RequestError):
    """There is no such operation."""


class BadSelection(RequestError):
    """The selection matches nothing, or is not in dbt's syntax."""


class BadVariable(RequestError):
    """A variable has a name or value that is not allowed here."""


class BadCommand(RequestError):
    """The dbt command or one of its flags is not allowed."""


class BadCommit(RequestError):
    """The commit is not on the synced branch, or dbt cannot parse it."""


class Malformed(WorkspaceError):
    """The call cannot be read."""

    status = 400


class NotFound(WorkspaceError):
    """There is no such run, node or model."""

    status = 404


class Conflict(WorkspaceError):
    """The current state does not allow this."""

    status = 409


class NothingLeft(Conflict):
    """Nothing is left to rerun: every node of the run has succeeded since."""


class KeyReused(Conflict):
    """The idempotency key belongs to another request."""

    def __init__(self, message: str, hint: str = "", run: str = "") -> None:
        super().__init__(message, hint)
        self.run = run
        """The run that has the key."""


class PlanChanged(Conflict):
    """The plan differs from the one you previewed."""


class Unauthorized(WorkspaceError):
    """The call has no valid token."""

    status = 401


class Forbidden(WorkspaceError):
    """You have no right to do this."""

    status = 403


class TooLarge(WorkspaceError):
    """The body of the call is too large."""

    status = 413


class WrongMethod(WorkspaceError):
    """This address does not accept this method."""

    status = 405


class NotJson(WorkspaceError):
    """The body of the call is not JSON."""

    status = 415


class TooManyRequests(WorkspaceError):
    """You have made too many calls in a minute."""

    status = 429


class Unavailable(WorkspaceError):
    """Something the workspace needs is unavailable. Try again."""

    status = 503


class NoCommitReady(Unavailable):
    """No commit of dbt-metric is ready yet."""


class QueueFull(Unavailable):
    """The queue of runs is full."""


class RunnerUnreachable(Unavailable):
    """The runner does not answer."""


class LedgerUnreachable(Unavailable):
    """The ledger's database does not answer."""


class MageUnreachable(Unavailable):
    """Mage does not answer. Runs go on without it."""


class CommitBroken(WorkspaceError):
    """The commit could not be made ready."""

    by_itself = False
    """Whether another attempt at the same commit may succeed; then there is one."""


class PackagesMissing(CommitBroken):
    """A dbt package of the commit could not be fetched."""

    def __init__(self, message: str, hint: str = "", by_itself: bool = False) -> None:
        super().__init__(message, hint)
        self.by_itself = by_itself


class ContentMissing(CommitBroken):
    """A submodule or large file of the commit was not fetched."""

    def __init__(self, message: str, hint: str = "", submodules: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.submodules = submodules
        """Paths of the submodules that were not fetched."""


class PreparationFailed(CommitBroken):
    """The workspace's machine could not make the commit ready. It tries again."""

    by_itself = True


class DbtUnfit(PreparationFailed):
    """The installed dbt lacks something on which the workspace relies."""


class RunFailed(WorkspaceError):
    """The run ended, and not every node passed."""


class RunCancelled(RunFailed):
    """The run was cancelled."""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A sentence with the nearest of `known`, or nothing when none is near.

    Names are compared in Unicode NFC, and shown as they are written: macOS writes NFD, which looks
    the same and is another name.
    """
    written: dict[str, str] = {}
    for name in known:
        written.setdefault(normalize("NFC", name), name)
    same = written.get(normalize("NFC", wrong))
    if same is not None and same != wrong:
        return (
            f"Did you mean {same}? It looks the same, and its letters are put together otherwise "
            "(Unicode NFC and NFD; macOS makes such names): copy it from here."
        )
    near = get_close_matches(normalize("NFC", wrong), list(written), n=3, cutoff=0.6)
    return f"Did you mean {', '.join(written[name] for name in near)}?" if near else ""
