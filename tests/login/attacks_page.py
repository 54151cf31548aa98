"""Attacks on the runner's page behind the people's door."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from tests.harness.waiting import wait_until
from tests.login import wire
from tests.login.attack import SIGN_IN, Target, attack, one_of
from tests.login.attacks_people import ELSEWHERE, EVIL

PAGES = ("/", "/runs", "/models", "/commits", "/settings", "/ask/run", "/ask/rerun", "/docs/")

FORMS = ("/ask/run", "/ask/rerun", "/ask/refresh", "/ask/undo", "/ask/cancel", "/ask/swap")

OF_OPERATORS = ("/settings/schedule", "/settings/alert-test")


def _send(
    target: Target, path: str, cookie: str, token: str, *headers: str, back: str = "/"
) -> bytes:
    """Sends a form that would build everything, were it taken."""
    fields = {"token": token, "model": "apart", "run": "x", "why": "attack", "back": back}
    body = urlencode(fields).encode()
    given = headers or (f"Origin: {target.real.people}",)
    kind = "Content-Type: application/x-www-form-urlencoded"
    lines = [cookie, kind, f"Content-Length: {len(body)}", *given]
    return target.people(f"/runner{path}", *lines, method="POST", body=body)


def _token(target: Target, cookie: str) -> str:
    """The token of a form that this person sees."""
    page = target.people("/runner/ask/run?model=apart", cookie)
    found = re.search(r'name="token" value="([^"]+)"', wire.body(page).decode())
    assert found, page[:500]
    return found[1]


def _runs(target: Target) -> bytes:
    otto = target.cookie("otto@example.com")
    return wire.body(target.people("/runner/v1/runs?cause=page", otto))


def _nothing_began(target: Target, before: bytes) -> None:
    assert _runs(target) == before


@attack(
    "people",
    "the runner's page without a login: its pages; the same as JSON, live parts, the API",
)
def _page_without_login(target: Target) -> str:
    pages = [target.told(target.people(f"/runner{path}")) for path in PAGES]
    programs = ("/now.json", "/runs.json", "/live/strip", "/v1/now", "/metrics", "/openapi.json")
    others = [target.told(target.people(f"/runner{path}")) for path in programs]
    return f"{one_of(pages, SIGN_IN)}; {one_of(others, '401')}"


@attack("people", "`/runner` without its slash, signed in")
def _without_slash(target: Target) -> str:
    answer = target.people("/runner", target.cookie("ana@example.com"))
    assert wire.header(answer, "Location") == "/runner/", answer[:300]
    return one_of([target.told(answer)], "307") + " to the page"


@attack(
    "people",
    f"{len(FORMS)} forms of the page by Ana: without a token, with an invented one, with Otto's",
)
def _forms_without_token(target: Target) -> str:
    ana, otto = target.cookie("ana@example.com"), target.cookie("otto@example.com")
    before, answers = _runs(target), []
    for path in FORMS:
        for token in ("", "0123456789abcdef." + "0" * 64, _token(target, otto)):
            answers.append(target.told(_send(target, path, ana, token)))
    _nothing_began(target, before)
    return one_of(answers, "403")


@attack("people", "a form of the page with Ana's right token, sent by a page of another site")
def _cross_site_form(target: Target) -> str:
    ana = target.cookie("ana@example.com")
    before, answers = _runs(target), []
    theirs: Sequence[Sequence[str]] = (
        (f"Origin: {EVIL}",),
        ("Origin: null",),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"),
        ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: empty"),
    )
    for headers in theirs:
        answers.append(target.told(_send(target, "/ask/run", ana, _token(target, ana), *headers)))
    _nothing_began(target, before)
    return one_of(answers, "403")


@attack("people", "the page inside a frame, an image, a script or a `fetch` of another site")
def _page_in_a_frame(target: Target) -> str:
    ana, answers = target.cookie("ana@example.com"), []
    for path in (*PAGES, "/now.json", "/models/names.json", "/live/strip"):
        for mode, dest in (("navigate", "iframe"), ("no-cors", "script"), ("cors", "empty")):
            headers = ("Sec-Fetch-Site: cross-site", f"Sec-Fetch-Mode: {mode}")
            answer = target.people(f"/runner{path}", ana, *headers, f"Sec-Fetch-Dest: {dest}")
            answers.append(target.told(answer))
    own = target.people("/runner/", ana)
    assert wire.header(own, "X-Frame-Options") == "DENY"
    assert "frame-ancestors 'none'" in wire.header(own, "Content-Security-Policy")
    assert wire.header(own, "Cross-Origin-Opener-Policy") == "same-origin"
    return one_of(answers, "403") + "; no page of ours allows a frame around it"


@attack("people", "a link, elsewhere, to a choice of language for Ana; a form without her token")
def _language_from_elsewhere(target: Target) -> str:
    ana = target.cookie("ana@example.com")
    link = target.told(target.people("/runner/language/ko", ana))
    form = target.told(_send(target, "/language/ko", ana, ""))
    assert b'<html lang="en">' in target.people("/runner/", ana)
    return f"{link}; {form}"


@attack(
    "people",
    f"{len(ELSEWHERE)} addresses elsewhere to lead to after a choice of language (`back`)",
)
def _language_back(target: Target) -> str:
    ana = target.cookie("ana@example.com")
    token = _token(target, ana)
    for elsewhere in (*ELSEWHERE, "/v1/runs", "/../api/pipelines", "/runs/..//evil.example"):
        # Her own language: what a person has chosen is kept, and this must leave nothing behind.
        answer = _send(target, "/language/en", ana, token, back=elsewhere)
        assert wire.statuses(answer) == [303], elsewhere
        to = wire.header(answer, "Location")
        assert re.match(r"/runner/(?!/)", to) and "evil" not in answer.decode().replace(to, "")
        assert "\r" not in to and not wire.header(answer, "X-Evil")
    return "a page of the runner's own"


@attack("people", "every form of the page by a viewer, with her own right token")
def _viewers_forms(target: Target) -> str:
    vera = target.cookie("vera@example.com")
    before, token = _runs(target), _token(target, vera)
    answers = [target.told(_send(target, path, vera, token)) for path in (*FORMS, *OF_OPERATORS)]
    _nothing_began(target, before)
    return one_of(answers, "403")


@attack("people", "the forms of *Settings* by an analyst, with her own right token")
def _operators_forms(target: Target) -> str:
    ana = target.cookie("ana@example.com")
    token = _token(target, ana)
    answers = [target.told(_send(target, path, ana, token)) for path in OF_OPERATORS]
    return one_of(answers, "403")


@attack(
    "people",
    "files beside the page's own: `../`, encoded once and twice, templates, lists",
)
def _files_beside(target: Target) -> str:
    ana = target.cookie("ana@example.com")
    page = wire.body(target.people("/runner/", ana)).decode()
    found = re.search(r'href="(/runner/static/[^"]+/)page\.css"', page)
    assert found
    answers = []
    for beside in ("../site.py", "../templates/base.html", "vendor/vendored.json", "/etc/passwd"):
        for spelled in (beside, quote(beside, safe=""), quote(quote(beside, safe=""), safe="")):
            answer = target.people(found[1] + spelled, ana)
            assert b"import" not in wire.body(answer) and b"root:" not in answer
            answers.append(target.told(answer))
    return one_of(answers, "301", "404")


@attack(
    "people",
    "what scripts of dbt's documentation at `/docs/` could ask for: `fetch`, an image, a form",
)
def _docs_sandbox(target: Target) -> str:
    ana = target.cookie("ana@example.com")

    def made() -> bytes | str:
        answer = target.people("/runner/docs/frame", ana)
        policy = wire.header(answer, "Content-Security-Policy")
        return answer if policy.startswith("sandbox ") else f"{wire.statuses(answer)} {policy[:80]}"

    _send(target, "/docs/make", ana, _token(target, ana))
    policy = wire.header(wait_until("dbt's documentation", made), "Content-Security-Policy")
    assert "allow-same-origin" not in policy and "allow-forms" not in policy
    assert "connect-src 'none'" in policy and "default-src 'none'" in policy
    answers = []
    for path in ("/now.json", "/v1/runs", "/ask/run?model=apart", "/"):
        # A sandbox is an origin of its own: a browser says so.
        for headers in (
            ("Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors"),
            ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
        ):
            answers.append(target.told(target.people(f"/runner{path}", ana, *headers)))
    answers.append(target.told(_send(target, "/ask/run", ana, _token(target, ana), "Origin: null")))
    return one_of(answers, "403") + "; neither cookies nor storage nor a connection in the sandbox"
