"""The page's own files and the vendored ones, under addresses that change with their content."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mage_dbt.errors import NotFound
from mage_dbt.identity.origin import READING
from mage_dbt.server.packing import takes_gzip

FOLDER = Path(__file__).parent / "static"

STATIC = "/static"

TYPES: Mapping[str, str] = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    """One file as it is sent."""

    digest: str
    media_type: str
    plain: bytes
    packed: bytes


@cache
def _assets() -> Mapping[str, Asset]:
    return {
        path.relative_to(FOLDER).as_posix(): _read(path)
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in TYPES
    }


def _read(path: Path) -> Asset:
    plain = path.read_bytes()
    digest = hashlib.sha256(plain).hexdigest()[:12]
    return Asset(digest, TYPES[path.suffix], plain, gzip.compress(plain, mtime=0))


def prepare() -> None:
    """Reads and packs all files."""
    _assets()


def address(name: str) -> str:
    """The path of a file, such as `/static/0123456789ab/page.css`."""
    return f"{STATIC}/{_assets()[name].digest}/{name}"


def routes() -> APIRouter:
    """The endpoint that sends files."""
    router = APIRouter()

    @router.api_route(STATIC + "/{digest}/{name:path}", methods=[*READING], include_in_schema=False)
    def static(http: HttpRequest, digest: str, name: str) -> Response:
        asset = _assets().get(name)
        if asset is None or asset.digest != digest:
            raise NotFound("There is no such file of the page.", "Load the page again.")
        packed = takes_gzip(http)
        return Response(
            asset.packed if packed else asset.plain,
            media_type=asset.media_type,
            headers={
                "Cache-Control": FOR_EVER,
                "X-Content-Type-Options": "nosniff",
                "Vary": "Accept-Encoding",
                **({"Content-Encoding": "gzip"} if packed else {}),
            },
        )

    return router
