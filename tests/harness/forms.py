"""Pages as a person without JavaScript sees them: their text, links and forms, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode

import httpx

from tests.harness.waiting import SECONDS

VOID = {"input", "meta", "link", "br", "hr", "img"}


@dataclass
class Form:
    """A form with what its fields hold."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    boxes: dict[str, str] = field(default_factory=dict)
    """Checkboxes that are not ticked: their values by name."""
    text: str = ""
    actions: dict[str, str] = field(default_factory=dict)
    """Where a button leads that does not lead to `action`, by its text."""


class Document(HTMLParser):
    """A page that was answered with."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.forms: list[Form] = []
        """Those of the page itself; what stands above every page is in `above`."""
        self.above: list[Form] = []
        self.links: dict[str, str] = {}
        """Addresses by the text of the link."""
        self.goes_on = ""
        """Where a browser without JavaScript goes on by itself; empty for most pages."""
        self.text = ""
        self._header = False
        self._form: Form | None = None
        self._link: tuple[str, int] | None = None
        self._button: tuple[str, int] | None = None
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "header":
            self._header = True
        elif tag == "form":
            self._form = Form(given.get("method", "get"), given.get("action", ""))
            (self.above if self._header else self.forms).append(self._form)
        elif tag == "input" and self._form and "name" in given:
            unticked = given.get("type") == "checkbox" and "checked" not in given
            held = self._form.boxes if unticked else self._form.fields
            held[given["name"]] = given.get("value", "")
        elif tag == "meta" and given.get("http-equiv") == "refresh":
            self.goes_on = given["content"].partition("url=")[2]
        elif tag == "a":
            self._link = (given.get("href", ""), len(self.text))
        elif tag == "button" and "formaction" in given:
            self._button = (given["formaction"], len(self.text))

    def handle_endtag(self, tag: str) -> None:
        if tag == "header":
            self._header = False
        elif tag == "form":
            self._form = None
        elif tag == "a" and self._link:
            address, begun = self._link
            self.links[" ".join(self.text[begun:].split())] = address
        elif tag == "button" and self._button and self._form:
            address, begun = self._button
            self._form.actions[self.text[begun:].strip()] = address
            self._button = None
        if tag not in VOID:
            self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._form:
            self._form.text += data

    def choice_of(self, language: str) -> Form:
        """The form that chooses this language."""
        (found,) = (form for form in self.above if form.text.strip() == language)
        return found

    def form(self, words: str) -> Form:
        """The form in which these words stand."""
        found = [form for form in self.forms if words in " ".join(form.text.split())]
        assert len(found) == 1, f"{len(found)} forms with {words!r} in: {self.text}"
        return found[0]


@dataclass
class Visitor:
    """Somebody who reads pages and sends their forms."""

    http: httpx.Client

    def see(self, path: str, status: int = 200, **query: str) -> Document:
        """The page, or the one to which it goes on by itself."""
        answer = self.http.get(path + (f"?{urlencode(query)}" if query else ""))
        if address := Document(answer.text).goes_on:
            answer = self.http.get(address)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
        return Document(answer.text)

    def send(self, form: Form, button: str = "", **fields: str) -> httpx.Response:
        """Sends a form as it stands, with these fields filled in; `button` is the pressed one."""
        return self.http.request(
            form.method,
            form.actions.get(button, form.action),
            content=urlencode({**form.fields, **fields}),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )

    def begun(self, form: Form, **fields: str) -> str:
        """Sends a form that begins a run; gives the run's id."""
        answer = self.send(form, **fields)
        assert answer.status_code == 303, f"{answer.status_code}: {Document(answer.text).text}"
        return answer.headers["location"].rpartition("/runs/")[2]


def browsers(base_url: str) -> Iterator[Visitor]:
    """A visitor at this address."""
    with httpx.Client(base_url=base_url, trust_env=False, timeout=SECONDS) as http:
        yield Visitor(http)
