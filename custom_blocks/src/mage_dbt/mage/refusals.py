"""How Mage shows a refusal: by its sentence.

A traceback of ours does not help a reader, and it names the server's folders. An error that is not
a refusal keeps its traceback, because somebody has to repair it. Patches make Mage call this.
"""

from __future__ import annotations

import traceback
from typing import Any

import pandas as pd

from mage_dbt.errors import RunFailed, WorkspaceError

REFUSED = 400

NOTHING = "nothing was run"
"""Head of the one column that shows a refusal in place of a block's table of results."""


def is_refusal(error: object) -> bool:
    """Whether the error is meant for the reader."""
    return isinstance(error, WorkspaceError)


def in_log(error: BaseException) -> dict[str, Any]:
    """The fields beside a line of Mage's log."""
    if is_refusal(error):
        return {"error": str(error)}
    return {
        "error": traceback.format_exc(),
        "error_stack": traceback.format_stack(),
        "error_stacktrace": str(error),
    }


def log_line(text: str, error: BaseException) -> str:
    """The line itself: a refusal's sentence, without what Mage adds about its own functions."""
    return str(error) if is_refusal(error) else text


def log_method(name: str, error: BaseException) -> str:
    """The method of the logger: `exception` would add the traceback to a refusal."""
    return "error" if name == "exception" and is_refusal(error) else name


def of_block(error: BaseException, block: Any, partition: str | None) -> dict[str, Any]:
    """What Mage keeps of a block's failure.

    A refusal becomes the block's output too, which is what a click on the block shows. A run that
    failed has stored its table there.
    """
    if not is_refusal(error):
        stack, trace = traceback.format_stack(), traceback.format_exc()
        return {"error": error, "errors": stack, "message": trace}
    if not isinstance(error, RunFailed):
        frame = pd.DataFrame([{NOTHING: str(error)}])
        block.store_variables({"output_0": frame}, execution_partition=partition)
    return {"error": error, "errors": str(error).splitlines(), "message": str(error)}


def api_error(error: BaseException) -> dict[str, Any] | None:
    """The error in an answer of Mage's API, as its page shows it; None for other errors."""
    if not is_refusal(error):
        return None
    # An empty text in `errors` keeps the page from offering a stack trace.
    code = getattr(error, "status", REFUSED)
    return {"code": code, "errors": [""], "message": str(error), "type": type(error).__name__}
