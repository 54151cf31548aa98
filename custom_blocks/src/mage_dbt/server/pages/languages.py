"""The page's languages: which one a reader gets, and its catalogue.

English texts are the keys. `locales/<language>/<page>.po` holds the translations of one page, as
translators edit them; they are read as they are, without a step that compiles them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path

from babel.core import negotiate_locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from starlette.requests import Request as HttpRequest

from mage_dbt.base.files import replace_file

FOLDER = Path(__file__).parent / "locales"

LANGUAGES: Mapping[str, str] = {"en": "English", "ko": "한국어"}
"""By code, its name in itself; the first is that of the texts in the code."""

COOKIE = "mage_dbt_language"

MOST_CHOICES = 10_000
"""People whose choices are kept."""


class Choices:
    """What people who sign in have chosen, by name: behind the proxy no cookie reaches us.

    A file that cannot be read or written costs a choice, and no page.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._guard = threading.Lock()
        self._chosen = self._read()

    def of(self, name: str) -> str:
        """The person's language; empty where none was chosen."""
        return self._chosen.get(name, "")

    def keep(self, name: str, language: str) -> None:
        with self._guard:
            others = [(one, code) for one, code in self._chosen.items() if one != name]
            self._chosen = {**dict(others[-MOST_CHOICES + 1 :]), name: language}
            with suppress(OSError):
                replace_file(self._file, json.dumps(self._chosen), 0o600)

    def _read(self) -> dict[str, str]:
        try:
            kept = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        items = kept.items() if isinstance(kept, dict) else ()
        return {name: code for name, code in items if code in LANGUAGES}


def language_of(http: HttpRequest, chosen: str = "") -> str:
    """The language of a call: `chosen`, or what the browser keeps, else what it asks for."""
    chosen = chosen or http.cookies.get(COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    asked = [
        part.split(";")[0].strip() for part in http.headers.get("accept-language", "").split(",")
    ]
    usable = [name.replace("-", "_") for name in asked if name.replace("-", "").isalnum()]
    found = negotiate_locale(usable, list(LANGUAGES), sep="_")
    return found or next(iter(LANGUAGES))


def catalogues(language: str) -> list[Catalog]:
    """The language's catalogues, one for each page."""
    found = []
    for file in sorted((FOLDER / language).glob("*.po")):
        with file.open("rb") as opened:
            found.append(read_po(opened, locale=language))
    return found


def entries(language: str, name: str) -> dict[str, str]:
    """The texts of one catalogue with their translations; none where the language has it not."""
    file = FOLDER / language / name
    if not file.exists():
        return {}
    with file.open("rb") as opened:
        found = read_po(opened, locale=language)
    return {str(entry.id): str(entry.string) for entry in found if entry.id}


@cache
def translations(language: str) -> NullTranslations:
    """What translates texts into the language; a text without a translation stays English."""
    merged = Translations()
    for catalogue in catalogues(language):
        compiled = BytesIO()
        write_mo(compiled, catalogue)
        compiled.seek(0)
        found = Translations(compiled)
        merged.merge(found)
        merged.plural = found.plural  # merging takes the texts alone
    return merged
