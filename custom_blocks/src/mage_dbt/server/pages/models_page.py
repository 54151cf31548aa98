"""The page `/models`, and the names for the picker on every page."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mage_dbt.identity.origin import READING
from mage_dbt.model import codec
from mage_dbt.model.commit import Commit
from mage_dbt.model.shown_model import GoneModel
from mage_dbt.runner.catalogue import Catalogue, ModelLine
from mage_dbt.server.models import search
from mage_dbt.server.packing import takes_gzip
from mage_dbt.server.pages import protection
from mage_dbt.server.pages.markdown import first_line
from mage_dbt.server.pages.site import Page, Site

ON_A_PAGE = 50

LONGEST_DESCRIPTION = 120
"""Characters of a description in a list."""

LONGEST_SEARCH = 200

MOST_GONE = 200
"""Models that are no longer there, in the list, which stands on the last page."""


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""
    names = Names(site.catalogue)

    def show(http: HttpRequest) -> Page:
        wanted = http.query_params.get("search", "")[:LONGEST_SEARCH].strip()
        found = search(site.catalogue.live.models, wanted)
        pages = max(-(-len(found) // ON_A_PAGE), 1)
        number = min(max(_number(http.query_params.get("page", "1")), 1), pages)
        shown = found[(number - 1) * ON_A_PAGE : number * ON_A_PAGE]
        lines = site.catalogue.lines(shown)
        survey = site.runner.survey
        known = {model.node for model in site.catalogue.live.models}
        changed = [model for model in (survey.changed if survey else ()) if model.node in known]
        gone = _matching(site.catalogue.gone(), wanted)
        shown_gone = _on_last_page(gone, number, pages)
        data = {
            "commit": site.catalogue.live.sha,
            "search": wanted,
            "page": number,
            "pages": pages,
            "total": len(found),
            "models": [_plain(line) for line in lines],
            "changed": [model.to_json() for model in changed],
            "gone": codec.plain(shown_gone),
            "gone_total": len(gone),
        }
        values = {
            "lines": lines,
            "changed": changed,
            "gone": shown_gone,
            "repeated": {name for name, times in _times(site.catalogue.live).items() if times > 1},
            "first_line": lambda text: first_line(text, LONGEST_DESCRIPTION),
        }
        return Page("models.html", data, values)

    async def picker(http: HttpRequest) -> Response:
        return await run_in_threadpool(names.answer, http)

    router.add_api_route("/models/names.json", picker, methods=[*READING], include_in_schema=False)
    site.page(router, "/models", show)


@dataclass(frozen=True)
class _Packed:
    commit: Commit
    etag: str
    plain: bytes
    packed: bytes


class Names:
    """The names of all models, made once for each live commit."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._guard = threading.Lock()
        self._made: _Packed | None = None

    def answer(self, http: HttpRequest) -> Response:
        """The names; nothing where the browser has those of the same commit already."""
        made = self._of(self._catalogue.live)
        headers = {
            **protection.HEADERS,
            "Cache-Control": "private, no-cache",
            "ETag": made.etag,
            "Vary": "Accept-Encoding",
        }
        if http.headers.get("if-none-match", "").removeprefix("W/") == made.etag:
            return Response(None, 304, headers)
        if takes_gzip(http):
            headers["Content-Encoding"] = "gzip"
            return Response(made.packed, 200, headers, "application/json")
        return Response(made.plain, 200, headers, "application/json")

    def _of(self, live: Commit) -> _Packed:
        with self._guard:
            if self._made is None or self._made.commit is not live:
                models = [
                    {
                        "node": model.node,
                        "name": model.name,
                        "type": model.type,
                        "description": first_line(model.description, LONGEST_DESCRIPTION),
                    }
                    for model in sorted(live.models, key=lambda model: model.name)
                ]
                plain = json.dumps({"commit": live.sha, "models": models}).encode()
                # The same commit is described again when its variables or environment change.
                etag = f'"{live.sha[:12]}-{live.graph[:12]}"'
                self._made = _Packed(live, etag, plain, gzip.compress(plain, 5))
            return self._made


def _times(commit: Commit) -> Counter[str]:
    """How many nodes have each name: packages may have the same ones."""
    return Counter(model.name for model in commit.models)


def _matching(gone: tuple[GoneModel, ...], wanted: str) -> tuple[GoneModel, ...]:
    """Those whose name has what is looked for."""
    words = wanted.lower().split()
    return tuple(model for model in gone if all(word in model.name.lower() for word in words))


def _on_last_page(gone: tuple[GoneModel, ...], page: int, pages: int) -> tuple[GoneModel, ...]:
    """Those that this page lists, MOST_GONE at most."""
    return gone[:MOST_GONE] if page == pages else ()


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 7 else 1


def _plain(line: ModelLine) -> dict[str, Any]:
    last = line.last
    return {
        **{name: getattr(line.model, name) for name in ("node", "name", "type", "materialized")},
        "description": first_line(line.model.description, LONGEST_DESCRIPTION),
        "last": last and {"status": last.status, "at": last.at.isoformat(), "run": last.run},
        "usual_seconds": line.usual_seconds,
    }
