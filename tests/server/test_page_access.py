"""Who reaches the page where there is no login, and what no other page can make a browser do."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.harness.forms import Visitor
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS

PROJECT = "steps"

PAGES = ("/", "/runs", "/models", "/commits", "/settings")


def browser(runner: Runner, **headers: str) -> httpx.Client:
    """A browser on this machine, without the token."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{runner.settings.runner_port}",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        trust_env=False,
        timeout=SECONDS,
    )


@pytest.mark.parametrize("path", PAGES)
def test_a_browser_at_this_machine_sees_every_page(runner: Runner, path: str) -> None:
    with browser(runner) as client:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        nonce = re.search(r"'nonce-([\w-]+)'", policy)
        assert nonce
        scripts = re.findall(r"<script[^>]*>", answer.text)
        assert scripts
        assert all(f'nonce="{nonce[1]}"' in script for script in scripts)
        assert nonce[1] not in client.get(path).text, "a nonce is used once"


@pytest.mark.parametrize("path", ["/now.json", "/runs.json", "/models.json", "/commits.json"])
def test_every_address_gives_the_same_as_json(runner: Runner, path: str) -> None:
    with browser(runner) as client:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        answer.json()


def test_the_api_still_needs_the_token(runner: Runner) -> None:
    with browser(runner) as client:
        for path in ("/v1/status", "/v1/runs", "/metrics", "/openapi.json"):
            assert client.get(path).status_code == 401, path
        assert client.post("/v1/runs", json={"select": "*"}).status_code == 401


@pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1", "127.0.0.1:1", ""])
def test_another_name_for_this_machine_is_refused(runner: Runner, host: str) -> None:
    with browser(runner, Host=host) as client:
        assert client.get("/").status_code in (400, 403)
        assert client.get("/now.json").status_code in (400, 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ],
)
def test_another_page_can_neither_read_nor_send(runner: Runner, headers: dict[str, str]) -> None:
    with browser(runner, **headers) as client:
        assert client.get("/").status_code == 403
        answer = client.post("/ask/rerun", data={"run": "20261123-080000-4f2a9c"})
        assert answer.status_code == 403


def test_another_page_may_link_here_and_not_send(runner: Runner) -> None:
    link = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    with browser(runner, **link) as client:
        assert client.get("/").status_code == 200
        assert client.post("/ask/rerun", data={"run": "x"}).status_code == 403


@pytest.mark.parametrize("token", ["", "x", "0123456789abcdef." + "0" * 64])
def test_a_form_without_its_token_does_nothing(runner: Runner, token: str) -> None:
    before = runner.client.runs()
    with browser(runner) as client:
        answer = client.post(
            "/ask/rerun", data={"token": token, "run": before[0].id if before else ""}
        )
    assert answer.status_code == 403
    assert "Load the page again" in answer.text
    assert runner.client.runs() == before


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"token=%ff%fe", "application/x-www-form-urlencoded", 400),
        (b"token=a&token=b", "application/x-www-form-urlencoded", 422),
        (b"{}", "application/json", 400),
        (
            b"&".join(b"f%d=" % number for number in range(500)),
            "application/x-www-form-urlencoded",
            400,
        ),
        (b"token=" + b"x" * 1_100_000, "application/x-www-form-urlencoded", 413),
    ],
    ids=["no text", "twice", "json", "many", "large"],
)
def test_what_is_no_form_is_refused(runner: Runner, body: bytes, kind: str, status: int) -> None:
    with browser(runner) as client:
        answer = client.post("/ask/rerun", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text


def test_what_is_not_there_is_a_page_with_a_way_back(runner: Runner) -> None:
    with browser(runner) as client:
        answer = client.get("/runs/20260101-000000-abcdef")
        assert answer.status_code == 404
        assert "<h1" in answer.text and 'href="/"' in answer.text
        answer = client.get("/runs/20260101-000000-abcdef.json")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_language_is_the_browsers_until_somebody_chooses(runner: Runner) -> None:
    with browser(runner, Accept_Language="ko-KR,ko;q=0.9,en;q=0.8") as client:
        visitor = Visitor(client)
        page = visitor.see("/runs", state="Error")
        assert '<html lang="ko">' in page.html
        choice = page.choice_of("English")
        odd = visitor.send(choice, back="/ask/refresh?model=a&model=ü\r\nX: y")
        assert odd.headers["location"] == "/ask/refresh?model=a&model=%C3%BC%0D%0AX%3A+y"
        answer = visitor.send(choice)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/runs?state=Error"
        assert '<html lang="en">' in client.get("/").text
    with browser(runner, Accept_Language="xx;q=;;,*") as client:
        assert '<html lang="en">' in client.get("/").text


@pytest.mark.parametrize(
    "back",
    [
        *("https://evil.example.com/", "//evil.example.com", "/v1/status", "javascript:x"),
        *("/models/../../oauth2/sign_out", "/runs/../v1/status?x=1", "/runs/.."),
    ],
)
def test_the_language_leads_to_no_other_site(runner: Runner, back: str) -> None:
    with browser(runner) as client:
        visitor = Visitor(client)
        choice = visitor.see("/").choice_of("한국어")
        answer = visitor.send(choice, back=back)
        assert answer.headers["location"].partition("?")[0] == "/"
        choice.action = "/language/xx"
        assert visitor.send(choice).status_code == 404


def test_a_form_that_was_not_sent_leads_back_to_this_site(runner: Runner) -> None:
    with browser(runner) as client:
        answer = client.get("/ask/cancel", params={"run": "../../oauth2/sign_out"})
        assert answer.status_code == 405
        assert "sign_out" not in answer.text.partition("<main")[2].partition("</main>")[0]


@pytest.mark.parametrize("path", [*PAGES, "/now.json", "/models/names.json", "/docs/.json"])
def test_head_is_answered_as_get_is_without_a_body(runner: Runner, path: str) -> None:
    with browser(runner) as client:
        looked, head = client.get(path), client.head(path)
    assert head.status_code == looked.status_code == 200
    assert head.content == b""
    for name in ("content-type", "cache-control"):
        assert head.headers.get(name) == looked.headers.get(name)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/runs", "GET, HEAD"),
        ("DELETE", "/settings", "GET, HEAD"),
        ("PUT", "/ask/run", "GET, HEAD, POST"),
        ("HEAD", "/ask/cancel", "POST"),
        ("GET", "/settings/schedule", "POST"),
        ("HEAD", "/live/strip", "GET"),
    ],
)
def test_a_refused_method_is_told_the_right_ones(
    runner: Runner, method: str, path: str, allowed: str
) -> None:
    with browser(runner) as client:
        answer = client.request(method, path)
    assert answer.status_code == 405, answer.text
    assert answer.headers["allow"] == allowed


def test_files_of_the_page_are_kept_for_ever_and_have_no_others_beside(runner: Runner) -> None:
    with browser(runner) as client:
        address = re.search(r'href="(/static/[^"]+page\.css)"', client.get("/").text)
        assert address
        answer = client.get(address[1])
        assert "immutable" in answer.headers["cache-control"]
        for path in (
            address[1].replace("page.css", "../site.py"),
            address[1].replace("page.css", "vendor/vendored.json"),
            "/static/0/page.css",
        ):
            assert client.get(path).status_code == 404, path
