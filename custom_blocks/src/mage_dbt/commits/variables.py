"""Names of variables that files of a commit seem to read with `var()`: a hint, dbt alone knows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mage_dbt.commits.profile import Profile
from mage_dbt.errors import did_you_mean
from mage_dbt.model.commit import Commit

READS_A_VARIABLE = re.compile(r"""\b(?:has_)?var\s*\(\s*(?:(['"])([^'"]+)\1|)""")

MAY_DEPEND_ON_VARIABLES = re.compile(r"\b(?:has_)?var\b")
"""Not `env_var`."""

MAY_READ_VARIABLES = frozenset({".sql", ".yml", ".yaml", ".py"})


def variables_read(files: Iterable[Path], profile: Profile) -> tuple[str, ...] | None:
    """Names that one of the files seems to read; None when one of them computes a name."""
    found: set[str] = set()
    for file in (profile.folder / "profiles.yml", *files):
        if file.suffix not in MAY_READ_VARIABLES or not file.is_file():
            continue
        for match in READS_A_VARIABLE.finditer(file.read_text(errors="replace")):
            if match.group(2) is None:
                return None
            found.add(match.group(2))
    return tuple(sorted(found))


def depends_on_variables(file: Path) -> bool:
    """Whether a file, such as profiles.yml, may read a variable."""
    return MAY_DEPEND_ON_VARIABLES.search(file.read_text(errors="replace")) is not None


def unread_variable(name: str, commit: Commit) -> str | None:
    """A warning when no file of this commit seems to read `name`."""
    if commit.variables is None or name in commit.variables:
        return None
    hint = did_you_mean(name, commit.variables)
    return f'Nothing in dbt-metric at {commit.sha[:7]} seems to read "{name}". {hint}'.strip()
