"""The API's own description, without a runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI

from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.event_feed import EventFeed
from mage_dbt.runner.service import Runner
from mage_dbt.server.app import make_app
from mage_dbt.settings import Settings


def app_without_runner() -> FastAPI:
    """The runner's application, for what needs no runner: its addresses and its description."""
    settings = Settings.load({}, Path("/no/such.env"))
    nobody = cast(Any, None)
    feed = EventFeed("")
    return make_app(
        cast(Runner, nobody), Ledger(""), feed, settings, Home(Path("/no/such")), "token"
    )


def openapi_document() -> dict[str, Any]:
    """What the runner serves at /openapi.json."""
    return app_without_runner().openapi()
