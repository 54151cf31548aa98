"""A refusal as Mage shows it: its sentence. A traceback of ours tells a reader nothing they can do,
and names the server's folders. What is no refusal keeps its traceback: somebody has to repair it.
"""

from __future__ import annotations

import traceback
from typing import Any

import pandas as pd

from mage_dbt.errors import RunFailed, WorkspaceError

REFUSED = 400

NOTHING = "nothing was run"
"""Head of the one column that holds a refusal, where a block's table of results would be."""


def is_refusal(error: object) -> bool:
    return isinstance(error, WorkspaceError)


def in_log(error: BaseException) -> dict[str, Any]:
    """What stands beside a line of Mage's log."""
    if is_refusal(error):
        return {"error": str(error)}
    return {
        "error": traceback.format_exc(),
        "error_stack": traceback.format_stack(),
        "error_stacktrace": str(error),
    }


def message(text: str, error: BaseException) -> str:
    """The line itself: of a refusal its sentence, without what Mage says of its own functions."""
    return str(error) if is_refusal(error) else text


def method(name: str, error: BaseException) -> str:
    """Of the logger: its `exception` writes the traceback by itself."""
    return "error" if name == "exception" and is_refusal(error) else name


def of_block(error: BaseException, block: Any, partition: str | None) -> dict[str, Any]:
    """What Mage keeps of a block's failure. A refusal is left as the block's output too, where
    somebody looks who clicks on the block; a run that failed has left its table there."""
    if not is_refusal(error):
        stack, trace = traceback.format_stack(), traceback.format_exc()
        return {"error": error, "errors": stack, "message": trace}
    if not isinstance(error, RunFailed):
        frame = pd.DataFrame([{NOTHING: str(error)}])
        block.store_variables({"output_0": frame}, execution_partition=partition)
    return {"error": error, "errors": str(error).splitlines(), "message": str(error)}


def answer(error: BaseException) -> dict[str, Any] | None:
    """What Mage's API answers, as its page shows a message; None for what is not ours."""
    if not is_refusal(error):
        return None
    # An empty text in `errors` keeps the page from offering a stack trace.
    code = getattr(error, "status", REFUSED)
    return {"code": code, "errors": [""], "message": str(error), "type": type(error).__name__}
