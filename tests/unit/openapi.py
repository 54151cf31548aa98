"""The API's own description, without a runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from mage_dbt.api.app import make_app
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.runner.service import Runner
from mage_dbt.settings import Settings


def openapi_document() -> dict[str, Any]:
    """What the runner serves at /openapi.json; nothing of a runner is needed to make it."""
    settings = Settings.load({}, Path("/no/such.env"))
    nobody = cast(Any, None)
    app = make_app(
        cast(Runner, nobody), cast(Ledger, nobody), settings, Home(Path("/no/such")), "token"
    )
    return app.openapi()
