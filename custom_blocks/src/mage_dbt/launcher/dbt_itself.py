"""Runs dbt's own program on the newest ready commit, for a day when our own code is at fault.

    ./scripts/dbt build --select fct_orders

Nothing of ours takes part: no plan, no queue, no ledger, no guard of full refreshes. dbt gets the
workspace's project, profile, target and secrets.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mage_dbt.base.tool_command import tool_command
from mage_dbt.commits.graph_key import dbt_environment
from mage_dbt.commits.profile import Profile
from mage_dbt.errors import NoCommitReady, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.model.commit import READY_FILE, Commit
from mage_dbt.settings import Settings

WARNING = (
    "dbt itself, on commit {sha}: no plan, no queue, no ledger, no alert. Another run may write "
    "the same tables meanwhile: see `{status}`, or stop the workspace."
)


def main(arguments: list[str]) -> int:
    """Returns dbt's exit status. Raises NoCommitReady when no commit was ever made ready."""
    settings = Settings.load()
    home = Home(settings.workspace_home)
    commit = newest(home)
    profile = Profile.of(settings, home)
    given = dict(os.environ)
    if not settings.dbt_profiles_dir:
        given |= Postgres(
            home, settings.postgres_port, settings.postgres_host
        ).warehouse_environment()
    print(WARNING.format(sha=commit.sha[:7], status=tool_command("status")), file=sys.stderr)
    words = [str(Path(sys.executable).with_name("dbt")), *arguments]
    folder = home.root / "dbt-itself"
    environment = dbt_environment(given) | {
        "DBT_PROJECT_DIR": str(commit.project),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_VERSION_CHECK": "false",
    }
    names = {
        "--profiles-dir": "DBT_PROFILES_DIR",
        "--profile": "DBT_PROFILE",
        "--target": "DBT_TARGET",
    }
    flags = profile.arguments()
    environment |= {names[flag]: value for flag, value in zip(flags[::2], flags[1::2], strict=True)}
    return subprocess.run(words, env=environment, check=False).returncode


def newest(home: Home) -> Commit:
    """The commit that became ready last. Raises NoCommitReady when there is none."""
    ready = sorted(home.commits.glob(f"*/{READY_FILE}"), key=lambda file: file.stat().st_mtime)
    if not ready:
        raise NoCommitReady("No commit has been made ready in this workspace yet.")
    return Commit.read(ready[-1].parent)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except WorkspaceError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
