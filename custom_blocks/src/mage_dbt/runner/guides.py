"""The line of Mage's guides that says how dbt-metric's commits stand."""

from __future__ import annotations

import re

from mage_dbt.commits.broken import Broken


def of_commits(
    sha: str, subject: str, broken: Broken | None, preparing: str, behind: int, branch: str
) -> str:
    """Which commit runs use, and what comes next, as Markdown.

    `sha` and `subject` are the live one's, `preparing` is the SHA that is being made ready, or
    empty, `behind` how many commits the branch has that the live one lacks.
    """
    parts = [f"Live: `{sha[:7]}` {_plain(subject)}."]
    if preparing:
        parts.append(f"`{preparing[:7]}` is being made ready.")
    if broken is not None and broken.by_machine:
        parts.append(f"`{broken.sha[:7]}` cannot be made ready on this machine.")
    elif broken is not None:
        reason = broken.error.message.split("\n", 1)[0]
        parts.append(
            f"**Broken: `{broken.sha[:7]}` {_plain(broken.subject)}, by {_plain(broken.author)}:** "
            f"{_plain(reason)}"
        )
    if behind:
        parts.append(f"{_plain(branch)} is {behind} commit{'' if behind == 1 else 's'} ahead.")
    return " ".join(parts)


def _plain(text: str) -> str:
    """What somebody wrote, as one line in which none of its characters means anything."""
    return re.sub(r"([\\`*_{}\[\]()<>#+.!|~&$:-])", r"\\\1", " ".join(text.split()))
