"""`python -m mage_dbt.container.install mage|dbt`: installs one environment into an image.

It makes the same environments from the same lock files as `scripts/start`. Two build arguments
choose another dbt: DBT_CORE_VERSION (`1.10.22`) and DBT_ADAPTER (`dbt-snowflake==1.11.0`). What the
lock file does not pin is then resolved during the build. Nothing is installed yet, so it uses only
the standard library.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from pathlib import Path

from mage_dbt import container
from mage_dbt.errors import SettingError
from mage_dbt.home import Home
from mage_dbt.launcher import environments
from mage_dbt.launcher.environments import DBT, MAGE
from mage_dbt.launcher.progress import Progress
from mage_dbt.settings import Settings

RECIPES = {"mage": MAGE, "dbt": DBT}


def choose_dbt(requirements: Path, core: str, adapter: str) -> None:
    """Puts another dbt into the first two lines of `requirements`; empty leaves one as it is."""
    lines = requirements.read_text()
    for name, line in (
        ("dbt-core", f"dbt-core=={core}" if core else ""),
        ("dbt-postgres", adapter),
    ):
        if not line:
            continue
        if not re.fullmatch(r"dbt-[\w-]+==[\w.]+", line):
            raise SettingError(
                f"{line!r} is not a version of dbt.",
                "DBT_CORE_VERSION=1.10.22, DBT_ADAPTER=dbt-snowflake==1.11.0.",
            )
        lines = re.sub(rf"^{name}==.*$", line, lines, count=1, flags=re.MULTILINE)
    requirements.write_text(lines)


def install() -> None:
    recipe = RECIPES[sys.argv[1]]
    if recipe is DBT:
        environ = os.environ
        core, adapter = environ.get("DBT_CORE_VERSION", ""), environ.get("DBT_ADAPTER", "")
        choose_dbt(recipe.requirements, core, adapter)
    home = Home(Settings.load().workspace_home)
    environments.ensure(home, [recipe], Progress(time.time()))
    for left in home.environments.glob("tools*"):  # uv: no image needs it
        left.unlink() if left.is_symlink() else shutil.rmtree(left)


if __name__ == "__main__":
    container.main(install, container.IMAGE)
