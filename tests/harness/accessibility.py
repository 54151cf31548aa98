"""What a reader without a mouse, without sight or with weak sight could not use, by axe-core."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

from playwright.sync_api import Page

from mage_dbt.errors import MachineError
from mage_dbt.launcher.environments import ensure_tool
from tests.harness import environments
from tests.harness.waiting import progress

HERE = Path(__file__).parent / "axe"

FILES = ("package.json", "package-lock.json")

COLORS = ("color-contrast", "link-in-text-block")
"""The rules of axe-core that are about colours and on unless somebody asks for more."""


def axe() -> Path:
    """The script, installed with npm when it is missing. Raises MachineError without npm."""

    def install(folder: Path, run: Callable[[list[str]], str]) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise MachineError("There is no npm on the PATH; axe-core comes with it.")
        for name in FILES:
            shutil.copyfile(HERE / name, folder / name)
        run([npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])

    text = [(HERE / name).read_text() for name in FILES]
    made = ensure_tool(environments.installed(), "axe", text, install, progress())
    return made / "node_modules" / "axe-core" / "axe.min.js"


@cache
def _source() -> str:
    return axe().read_text()


def violations(page: Page, rules: tuple[str, ...] = ()) -> list[str]:
    """What axe-core finds on the page by these rules, or by all: a line each, with the element."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_source())
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": rules}
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]
