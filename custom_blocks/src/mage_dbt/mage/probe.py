"""`python -m mage_dbt.mage.probe`: exit code 0 when Mage answers, else 1 and what it does instead.

For whoever watches Mage: with a login on it answers nobody without the runner's secret.
"""

from __future__ import annotations

import sys

import httpx

from mage_dbt.errors import WorkspaceError
from mage_dbt.home import Home
from mage_dbt.mage.api import as_the_runner
from mage_dbt.settings import Settings

ANSWER_SECONDS = 5.0


def missing(settings: Settings, home: Home) -> str:
    """Nothing when Mage answers 200, else what it does instead."""
    url = f"http://127.0.0.1:{settings.mage_port}/api/statuses"
    try:
        answer = httpx.get(
            url,
            headers=as_the_runner(home),
            timeout=ANSWER_SECONDS,
            verify=False,  # no TLS: reading the system's certificates takes 18 ms
            trust_env=False,
        )
    except httpx.HTTPError as error:
        return f"{url}: {error}"
    if answer.status_code != 200:
        return f"{url} answers {answer.status_code}"
    # It says so with a 200 while it makes its database.
    return f"{url} answers with an error" if '"error"' in answer.text[:20] else ""


def answers(settings: Settings, home: Home, seconds: float) -> bool:
    """Whether Mage answers one question within so many seconds, whatever it answers."""
    url = f"http://127.0.0.1:{settings.mage_port}/api/statuses"
    try:
        httpx.get(url, headers=as_the_runner(home), timeout=seconds, verify=False, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


def main() -> int:
    try:
        settings = Settings.load()
        said = missing(settings, Home(settings.workspace_home))
    except WorkspaceError as error:
        said = str(error)
    if said:
        print(said, file=sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
