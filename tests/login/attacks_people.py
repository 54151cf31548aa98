"""Attacks on the people's door."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import quote

import httpx
import psutil

from tests.groups_header import groups_header
from tests.harness.login import try_to_sign_in
from tests.harness.waiting import wait_until
from tests.login import wire
from tests.login.attack import SIGN_IN, Target, attack, one_of

EVERYTHING = (
    *("/", "/pipelines", "/files", "/terminal", "/manage", "/settings", "/version-control"),
    *("/api/pipelines", "/api/statuses", "/api/sessions", "/api/users", "/api/secrets"),
    *("/api/events", "/api/event_matchers", "/api/runs", "/api/runs/token", "/api/files"),
    *("/api/file_contents/x", "/api/downloads/x", "/api/pipeline_schedules/1/api_trigger"),
    *("/api/pipeline_schedules/1/pipeline_runs/token", "/api/kernels", "/api/oauths"),
    *("/event-streams/x", "/websocket/", "/websocket/terminal", "/metrics", "/favicon.ico"),
    *("/_next/static/x.js", "/fonts/x", "/images/x", "/monaco-editor/x", "/ready", "/sign-in"),
    *("/runner/", "/runner/v1/status", "/runner/v1/runs", "/runner/openapi.json", "/runner/ping"),
    *("/runner", "/runner/runs", "/runner/now.json", "/runner/live/strip", "/runner/ask/rerun"),
    *("/runner/static/0/page.css", "/runner/docs/", "/runner/language/ko", "/runner/settings"),
    *("/oauth2/auth", "/oauth2/userinfo", "/oauth2/sign_in", "/oauth2/start", "/oauth2/nothing"),
)

UPGRADE = (
    *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)

EVIL = "https://evil.example"

FORGED = (
    *("X-Forwarded-Email: otto@example.com", "X-Forwarded-Groups: owners"),
    *("X-Forwarded-User: otto@example.com", "X-Forwarded-Preferred-Username: otto"),
    *("X-Workspace-Proxy: guessed", "X-Workspace-Runner: guessed"),
)


@attack("people", f"{len(EVERYTHING)} addresses of Mage, the runner and the proxy, without a login")
def _no_cookie(target: Target) -> str:
    answers = []
    for address in EVERYTHING:
        for method in ("GET", "POST", "OPTIONS", "TRACE"):
            answer = target.people(address, method=method)
            answers.append(target.told(answer))
            assert b"upstream" not in answer
    return one_of(answers, SIGN_IN, "401", "404")


@attack("people", "what answers without a login: `/ping` (this process lives), `/robots.txt`")
def _open(target: Target) -> str:
    assert wire.body(target.people("/ping")).strip() == b"OK"
    assert b"Disallow: /" in target.people("/robots.txt")
    return one_of([target.told(target.people(one)) for one in ("/ping", "/robots.txt")], "200")


@attack("people", "a web socket without a login: `/websocket/`, `/websocket/terminal`")
def _web_socket(target: Target) -> str:
    answers = []
    for address in ("/websocket/", "/websocket/terminal"):
        port = target.real.people_port
        data = wire.request(address, f"127.0.0.1:{port}", UPGRADE)
        answers.append(target.told(wire.send(port, data)))
    return one_of(answers, "401")


@attack("people", "a forged cookie: invented, changed in any part, of another workspace")
def _forged_cookie(target: Target) -> str:
    right = target.cookie("ana@example.com").removeprefix("Cookie: ").split("; ")[0]
    name, _, value = right.partition("=")
    parts = value.split("|")
    cookies = [f"{name}=invented", f"{name}=a|1|b", f"{name}="]
    for number, part in enumerate(parts):
        changed = ("A" if part[0] != "A" else "B") + part[1:]
        cookies.append(f"{name}=" + "|".join([*parts[:number], changed, *parts[number + 1 :]]))
    cookies.append(target.cookie("otto@example.com", target.mirror).removeprefix("Cookie: "))
    answers = [target.told(target.people("/api/pipelines", f"Cookie: {one}")) for one in cookies]
    return one_of(answers, "401")


@attack("people", "forged headers without a login: who, which group, the proxy's secret")
def _forged_headers(target: Target) -> str:
    answers = [target.people(one, *FORGED) for one in ("/api/pipelines", "/runner/v1/status")]
    return one_of(map(target.told, answers), "401")


SPELLINGS = (
    *("X-Forwarded-Email", "x-forwarded-email", "X_Forwarded_Email", "X-Forwarded_Email"),
    *("X-FORWARDED-EMAIL", "X-Forwarded-Groups", "x_forwarded_groups", "X-Forwarded_Groups"),
    *("X-Workspace-Proxy", "x-workspace-proxy", "X_Workspace_Proxy", "X-Workspace-Runner"),
    *("X_Workspace_Runner", "X-Forwarded-Preferred-Username", "X_Forwarded_Preferred_Username"),
    *("X-Forwarded-User", "X-Forwarded-Access-Token", "X-Real-IP", "X_Real_IP", "Forwarded"),
    *("X-Original-URL", "X-Rewrite-URL", "X-Http-Method-Override", "X-Forwarded-Host"),
    *("Authorization", "X-Forwarded-Proto", "X-Forwarded-Uri", "X-Forwarded-For"),
)


@attack(
    "people", f"{len(SPELLINGS)} spellings of forged headers beside Ana's own login, once and twice"
)
def _spellings(target: Target) -> str:
    secret = target.mirror.home.proxy_people_secret.read_text()
    for name in SPELLINGS:
        for headers in ([f"{name}: forged"], [f"{name}: forged", f"{name}: forged too"]):
            seen = target.arrived(*headers)
            text = str(seen)
            assert "forged" not in text, (name, seen)
            assert seen["x-forwarded-email"] == ["ana@example.com"]
            assert seen["x-forwarded-groups"] == [groups_header("analysts", secret=secret)]
            assert len(seen["x-workspace-proxy"]) == 1
    return "Ana arrives as Ana, an analyst; none of it does"


@attack("people", "header names with a space, a folded line, a NUL; lines ended by LF alone")
def _odd_headers(target: Target) -> str:
    cookie = target.cookie("ana@example.com", target.mirror)
    port = target.mirror.people_port
    host = f"127.0.0.1:{port}"
    odd = (
        *(
            "X-Forwarded-Email : forged",
            "X-Forwarded-Email\t: forged",
            " X-Forwarded-Email: forged",
        ),
        *(
            "X-A: b\r\n X-Forwarded-Email: forged",
            "X-A: \0forged",
            "X-A: b\nX-Forwarded-Email: forged",
        ),
    )
    answers = []
    for line in odd:
        answer = wire.ask(port, "/api/pipelines", host, [cookie, line])
        arrived = b'"x-forwarded-email", "forged"' in answer
        assert not arrived, line
        answers.append(str(wire.statuses(answer)[0]))
    # A folded line becomes a part of the line above, which is the cookie: 401.
    return one_of(answers, "400", "401", "200") + "; nothing forged arrives"


@attack(
    "people", "`Connection: X-Workspace-Proxy` and the like, so that what identifies is dropped"
)
def _hop_by_hop(target: Target) -> str:
    answers = []
    cookie = target.cookie("ana@example.com")
    for name in ("X-Workspace-Proxy", "X-Forwarded-Email", "X-Forwarded-Groups"):
        port = target.real.people_port
        data = wire.request(
            "/runner/v1/status", f"127.0.0.1:{port}", [cookie, f"Connection: close, {name}"]
        )
        answers.append(target.told(wire.send(port, data)))
    return one_of(answers, "401", "403")


@attack("people", "a person in no group signs in")
def _no_group(target: Target) -> str:
    with target.real.client() as client:
        answer = try_to_sign_in(client, "nora@example.com")
        after = client.get("/api/pipelines")
    assert after.status_code == 401
    return one_of([str(answer.status_code)], "403")


@attack(
    "people",
    "Ana's login in a page of another site: its `Origin`, and `null`; to the runner and Mage",
)
def _origin(target: Target) -> str:
    answers = []
    cookie = target.cookie("ana@example.com")
    for address in ("/runner/v1/runs", "/api/pipelines"):
        for origin in (EVIL, "null", "http://127.0.0.1", f"{target.real.people}.evil.example"):
            headers = [cookie, f"Origin: {origin}", "Content-Length: 2"]
            answer = target.people(address, *headers, method="POST", body=b"{}")
            assert not wire.header(answer, "Access-Control-Allow-Origin")
            answers.append(target.told(answer))
    return one_of(answers, "403")


@attack(
    "people",
    "Ana's login in what a page of another site loads by GET: an image, a script, a frame",
)
def _loaded_elsewhere(target: Target) -> str:
    cookie = target.cookie("ana@example.com")
    answers = []
    for address in ("/api/pipelines", "/pipelines", "/images/x", "/runner/v1/runs"):
        for site in ("cross-site", "same-site"):
            for mode, dest in (("no-cors", "image"), ("no-cors", "script"), ("navigate", "iframe")):
                told = {"Site": site, "Mode": mode, "Dest": dest}
                fetched = [f"Sec-Fetch-{name}: {value}" for name, value in told.items()]
                answers.append(target.told(target.people(address, cookie, *fetched)))
    link = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    assert wire.statuses(target.people("/pipelines", cookie, *link)) == [200]  # from a chat
    return one_of(answers, "403")


NOT_TAKEN = {
    "exclude_pattern": "^(([a-zA-Z0-9_.]+)+)+!$",  # a regular expression that is never done
    "exclude_dir_pattern": "^(([a-zA-Z0-9_.]+)+)+!$",
    "pattern": "^(([a-zA-Z0-9_.]+)+)+!$",
    "repo_path": "/",
    "directory_path": "/etc",
    "file_path": "/etc/passwd",
    "pipeline_uuid": "../../../../etc",
    "order_by[]": "query delete",  # the first word is looked up, the second called
    "order_by": "query delete",
    "content_override": "import os",
    "data_source_override": '{"type": "chart_code"}',
    "os[]": "1",  # the name is that of a module to import
}


@attack(
    "people",
    f"{len(NOT_TAKEN)} parameters that Mage reads as a regular expression, a path, a call, a "
    "module or code, by a viewer, encoded once, twice and three times",
)
def _parameters(target: Target) -> str:
    vera, ana = target.cookie("vera@example.com"), target.cookie("ana@example.com")
    answers = []
    for name, value in NOT_TAKEN.items():
        for _ in range(3):
            value = quote(value, safe="")
            for address in ("files", "pipelines", "pipeline_runs", "block_runs", "blocks/x"):
                answer = target.people(f"/api/{address}?{quote(name)}={value}", vera)
                assert not re.search(rb'root:x:|"name": "(proc|passwd)"', answer)
                answers.append(target.told(answer))
            assert wire.statuses(target.people("/api/statuses", ana)) == [200]
    assert set(answers) == {"200", "400"}, set(answers)
    runs = target.people("/api/pipeline_runs", ana)
    assert b'"pipeline_uuid"' in wire.body(runs)
    return "400, or taken out before Mage reads it; Ana is answered meanwhile"


@attack(
    "people",
    "a file of the machine, by its path from the root, encoded once to four times: read, moved, "
    "deleted, by an owner",
)
def _path_from_the_root(target: Target) -> str:
    otto = target.cookie("otto@example.com")
    victim = target.real.home.root / "victim.txt"
    victim.write_text("here")
    path, answers = str(victim), []
    for _ in range(4):
        path = quote(path, safe="")
        for resource in ("files", "folders", "file_contents", "blocks", "custom_templates"):
            for method in ("GET", "PUT", "DELETE"):
                ours = [otto, f"Origin: {target.real.people}", "Content-Length: 2"]
                answer = target.people(f"/api/{resource}/{path}", *ours, method=method, body=b"{}")
                answers.append(target.told(answer))
    assert victim.read_text() == "here"
    # The proxy sends a browser on from `//`, to a path inside the project.
    return one_of(answers, "301", "404")


@attack("people", "a trigger's token, looked for by a viewer where Mage shows and keeps triggers")
def _tokens(target: Target) -> str:
    vera, ana = target.cookie("vera@example.com"), target.cookie("ana@example.com")
    token = target.real.home.mage_trigger_token.read_bytes()
    file = quote("pipelines/daily_full_build/triggers.yaml", safe="")
    assert token in target.people(f"/api/file_contents/{file}", ana)  # who may edit it
    daily = "/api/pipelines/daily_full_build"
    for address in (
        *(f"/api/file_contents/{file}", f"/api/blocks/x?file_path={file}", "/api/pipeline_runs"),
        *(f"/api/blocks/{file}", f"{daily}/pipeline_triggers", f"{daily}/pipeline_schedules"),
        *("/api/pipeline_schedules/1", f"{daily}?include_schedules=true", f"{daily}/logs"),
    ):
        assert token not in target.people(address, vera), address
    return "stars in its place"


DAILY_PATHS = ("daily_full_build/triggers.yaml", "daily_full_build")


@attack(
    "people",
    "the daily build's trigger in Mage by an analyst: its switch, its time, its file, its pipeline "
    "and the folders that hold it, changed, moved and deleted",
)
def _daily_trigger(target: Target) -> str:
    ana = target.cookie("ana@example.com")
    daily = "/api/pipelines/daily_full_build"
    listed = json.loads(wire.body(target.people(f"{daily}/pipeline_schedules", ana)))
    number = next(
        one["id"] for one in listed["pipeline_schedules"] if one["name"] == "Every morning"
    )
    path = target.real.home.mage_project / "pipelines" / "daily_full_build" / "triggers.yaml"
    before = path.read_text()
    file, folder = (quote(f"pipelines/{one}", safe="") for one in DAILY_PATHS)
    answers = []
    for method, address, changed in (
        ("PUT", f"/api/pipeline_schedules/{number}", {"pipeline_schedule": {"status": "inactive"}}),
        (
            "PUT",
            f"{daily}/pipeline_schedules/{number}",
            {"pipeline_schedule": {"schedule_interval": "0 3 * * *"}},
        ),
        ("DELETE", f"/api/pipeline_schedules/{number}", {}),
        (
            "POST",
            f"{daily}/pipeline_triggers",
            {"pipeline_trigger": {"pipeline_schedule_id": number}},
        ),
        ("PUT", daily, {"pipeline": {"status": "inactive"}}),
        ("PUT", daily, {"pipeline": {"name": "mornings"}}),
        ("DELETE", daily, {}),
        ("PUT", f"/api/file_contents/{file}", {"file_content": {"content": "triggers: []"}}),
        ("PUT", f"/api/files/{file}", {"file": {"dir_path": "", "name": "away.yaml"}}),
        ("DELETE", f"/api/files/{file}", {}),
        ("PUT", f"/api/folders/{folder}", {"folder": {"name": "away"}}),
        ("DELETE", f"/api/folders/{folder}", {}),
        ("DELETE", "/api/folders/pipelines", {}),
    ):
        body = json.dumps(changed).encode()
        ours = (ana, f"Origin: {target.real.people}", f"Content-Length: {len(body)}")
        answer = target.people(address, *ours, method=method, body=body)
        answers.append(str(json.loads(wire.body(answer))["error"]["code"]))
    assert path.read_text() == before
    return f"{one_of(answers, '403')} in Mage's answer, with who may and where; it is as before"


@attack("people", "Ana's login in a web socket of another site's page")
def _web_socket_origin(target: Target) -> str:
    port = target.real.people_port
    headers = [*UPGRADE, target.cookie("ana@example.com"), f"Origin: {EVIL}"]
    return one_of(
        [target.told(wire.send(port, wire.request("/websocket/", f"127.0.0.1:{port}", headers)))],
        "403",
    )


@attack(
    "people", "a viewer's `Upgrade` of an ordinary page, so that others' requests follow it unread"
)
def _upgrade_of_a_page(target: Target) -> str:
    port = target.real.people_port
    vera, ana = target.cookie("vera@example.com"), target.cookie("ana@example.com")
    answers = []
    for address in ("/pipelines", "/api/pipelines", "/nothing", "/websocket/"):
        # Without a key and version it is no web socket, whatever it says.
        data = wire.request(address, f"127.0.0.1:{port}", [*UPGRADE[:2], vera])
        for _ in range(2):
            wire.send(port, data)
            answers.append(target.told(target.people("/api/pipelines", ana)))
    return "the others are answered: " + one_of(answers, "200")


@attack("people", "25 requests with `Upgrade` that are no web socket: HEAD, POST, a page, no key")
def _upgrade_left_open(target: Target) -> str:
    port, mage = target.real.people_port, target.settings.mage_port

    def to_mage() -> int:
        there = [one for one in psutil.net_connections("tcp") if one.raddr[1:] == (mage,)]
        return sum(one.status != psutil.CONN_TIME_WAIT for one in there)

    vera, origin = target.cookie("vera@example.com"), f"Origin: {target.real.people}"
    before = to_mage()
    for _ in range(5):
        for method, address in (
            *(("HEAD", "/pipelines"), ("HEAD", "/websocket/"), ("POST", "/websocket/")),
            *(("GET", "/pipelines"), ("GET", "/api/pipelines")),
        ):
            data = wire.request(address, f"127.0.0.1:{port}", [*UPGRADE[:2], vera, origin], method)
            wire.send(port, data)

    def closed() -> bool | str:
        now = to_mage()
        return now <= before or f"{now} connections to Mage, {before} before"

    wait_until("the relay to close them", closed)
    return "answered; the relay keeps no connection to Mage open"


CLOSED = ("/websocket/terminal", "/api/sessions", "/api/events", "/api/event_matchers", "/api/runs")

TWISTS = (
    *("{0}", "{0}/", "/{0}", "//{0}", "/x/..{0}", "/x/%2e%2e{0}", "/.{0}", "{0}/.", "{0}//"),
    *("{0};a=b", "{0}%00", "{0}%20", "{0}%0a", "{0}?x", "{0}#x", "/%2f{0}"),
)


def _twisted(path: str) -> list[str]:
    first, last = path.rsplit("/", 1)
    return [
        *(one.format(path) for one in TWISTS),
        f"{first}%2f{last}",
        f"{first}%2F{last}",
        f"{first}/./{last}",
        f"{first}//{last}",
        f"{first}/x/../{last}",
        f"{first}/x/%2e%2e/{last}",
        f"{first}\\{last}",
        path.replace("/", "\\"),
        path.upper(),
        path.title(),
        "".join(f"%{ord(one):02x}" if one.isalpha() else one for one in path),
        quote(quote(path, safe=""), safe=""),
        f"http://127.0.0.1{path}",
        f"http://evil.example{path}",
    ]


@attack(
    "people", "what is closed for everybody, by a signed-in owner, in 30 spellings of each path"
)
def _closed(target: Target) -> str:
    cookie = target.cookie("otto@example.com")
    port = target.real.people_port
    answers = []
    for path in CLOSED:
        for spelling in _twisted(path):
            # Blanks and line ends in a target are not HTTP; they are tried escaped.
            data = wire.request(
                spelling, f"127.0.0.1:{port}", [*UPGRADE, cookie, f"Origin: {target.real.people}"]
            )
            answer = wire.send(port, data)
            # A redirect to a cleaned path is asked for in turn by a browser, and is a row above.
            assert wire.statuses(answer), spelling
            assert wire.statuses(answer)[0] not in (101, 200), (spelling, answer[:300])
            answers.append(str(wire.statuses(answer)[0]))
    return one_of(answers, "301", "307", "308", "400", "403", "404")


ROUND_ABOUT = (
    *("/ping/../api/pipelines", "/ping/%2e%2e/api/pipelines", "/ping%2f..%2fapi/pipelines"),
    *("/ping;/../api/pipelines", "/ping/", "/PING", "/ping%00", "//ping", "/ping/x"),
    *("/oauth2/../api/pipelines", "/oauth2/static/../../api/pipelines", "/robots.txt/../api/x"),
    *("/oauth2/static/%2e%2e/%2e%2e/api/pipelines", "/oauth2/static/..%2f..%2fapi/pipelines"),
    *("http://127.0.0.1/api/pipelines", "http://evil.example/api/pipelines", "*"),
    *("/.%2e/api/pipelines", "/\\..\\api", "/api/pipelines?x=/ping", "/%61pi/pipelines"),
)


@attack(
    "people",
    f"{len(ROUND_ABOUT)} ways round by what is open: `/ping/../api/pipelines` and the like",
)
def _round_about(target: Target) -> str:
    answers = []
    for address in ROUND_ABOUT:
        answer = target.people(address)
        assert b'"pipelines":' not in wire.body(answer)
        answers.append(target.told(answer))
    return one_of(answers, SIGN_IN, "301", "307", "400", "401", "404")


@attack("people", "`Host` and `X-Forwarded-Host` of another site, without a login")
def _host(target: Target) -> str:
    for answer in (
        target.people("/", host="evil.example"),
        target.people("/", "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example"),
    ):
        assert target.told(answer) == SIGN_IN
        back = httpx.URL(wire.header(answer, "Location")).params["redirect_uri"]
        assert back == f"{target.real.people}/oauth2/callback"
    return f"{SIGN_IN}, which leads back to our own address"


@attack("people", "`Host` of another site with Ana's login (DNS rebinding)")
def _rebinding(target: Target) -> str:
    cookie = target.cookie("ana@example.com")
    answers = [
        target.told(target.people(one, cookie, host="evil.example"))
        for one in ("/runner/v1/status", "/api/pipelines")
    ]
    return one_of(answers, "403")


ELSEWHERE = (
    *(EVIL, "//evil.example", "/\\evil.example", "\\\\evil.example", "https:evil.example"),
    *(
        "/%2f%2fevil.example",
        "/\t/evil.example",
        "/%09/evil.example",
        "///evil.example",
        "/..//evil.example",
    ),
    *(
        "http://127.0.0.1@evil.example",
        "javascript:alert(1)",
        "/x?y=\r\nLocation: https://evil.example",
    ),
)


@attack(
    "people", f"{len(ELSEWHERE)} addresses elsewhere to return to after signing in, or out (`rd=`)"
)
def _redirect(target: Target) -> str:
    ours = target.real.people
    for elsewhere in ELSEWHERE:
        rd = quote(elsewhere, safe="")
        out = target.people(f"/oauth2/sign_out?rd={rd}")
        to = str(httpx.URL(ours).join(wire.header(out, "Location")))
        assert to.startswith(ours), (elsewhere, to)
    with target.mirror.client() as client:
        for elsewhere in ELSEWHERE[:4]:
            client.cookies.clear()
            page = client.get(
                f"/oauth2/start?rd={quote(elsewhere, safe='')}", follow_redirects=True
            )
            step = client.post(page.url, data={"email": "ana@example.com"})
            while step.is_redirect:
                to = str(step.url.join(step.headers["location"]))
                assert to.startswith((target.mirror.people, target.mirror.provider)), to
                step = client.get(to)
    return "one's own first page"


@attack(
    "people",
    "the callback of somebody else's login: no cookie of its own, another's state, used twice",
)
def _callback(target: Target) -> str:
    answers = []
    chain = target.mirror
    with chain.client() as theirs, chain.client() as victim:
        page = theirs.get("/", follow_redirects=True)
        step = theirs.post(page.url, data={"email": "otto@example.com"})
        while "/oauth2/callback" not in step.headers["location"]:
            step = theirs.get(step.url.join(step.headers["location"]))
        link = step.headers["location"]
        answers.append(str(victim.get(link).status_code))
        begun = victim.get("/oauth2/start")
        state = httpx.URL(begun.headers["location"]).params["state"]
        mixed = httpx.URL(link).copy_set_param("state", state)
        answers.append(str(victim.get(mixed).status_code))
        assert victim.get("/api/pipelines").status_code == 401
        theirs.get(link)  # their own login, in their own browser: that one is good, once
        answers.append(str(theirs.get(link).status_code))
    return one_of(answers, "403", "500")


SMUGGLED = b"GET /runner/v1/runs HTTP/1.1\r\nHost: smuggled\r\n\r\n"

SMUGGLING = (
    ("Content-Length: 5", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", "Content-Length: 5"),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    ("Transfer-Encoding: xchunked", "Content-Length: 5"),
    ("Transfer-Encoding : chunked", "Content-Length: 5"),
    ("Transfer-Encoding:\tchunked", "Content-Length: 5"),
    ("Transfer-Encoding: chunked, identity", "Content-Length: 5"),
    ("Content-Length: 5", f"Content-Length: {5 + len(SMUGGLED)}"),
    ("Content-Length: +5",),
    ("Content-Length: 5, 5",),
)


@attack(
    "people",
    f"{len(SMUGGLING)} mixtures of `Content-Length` and `Transfer-Encoding`, a request inside",
)
def _smuggling(target: Target) -> str:
    chain = target.mirror
    port = chain.people_port
    cookie = target.cookie("ana@example.com", chain)
    answers = []
    for headers in SMUGGLING:
        data = wire.request(
            "/api/pipelines",
            f"127.0.0.1:{port}",
            [cookie, *headers],
            "POST",
            b"0\r\n\r\n" + SMUGGLED,
        )
        answer = wire.send(port, data, 1.5, first=False)
        found = wire.statuses(answer)
        assert found, headers
        # What came second was taken for a request of its own, without a login, or for nothing.
        assert b"smuggled" not in answer or found[1:] in ([302], [401], [400]), (headers, answer)
        assert found[1:] in ([], [302], [401], [400]), (headers, found)
        answers.append(" then ".join(map(str, found)))
    firsts = {"200", "200 then 302", "200 then 401", "200 then 400", "400", "501"}
    assert set(answers) <= firsts, answers
    return "400, 501, or the first alone is let in and what was inside needs its own login"


@attack("people", "10 MB of headers, in one and in 100,000")
def _large_headers(target: Target) -> str:
    one = target.people("/", "X-Large: " + "x" * 10_000_000)
    many = target.people("/", *(f"X-{number}: " + "x" * 90 for number in range(100_000)))
    found = {target.told(answer) for answer in (one, many)}
    assert found <= {"431", "400", "connection closed"}, found
    assert wire.statuses(target.people("/ping")) == [200]
    return "431, or the connection closed"


@attack("people", "a body of 10 MB without a login")
def _large_body(target: Target) -> str:
    port = target.real.people_port
    head = wire.request(
        "/api/pipelines", f"127.0.0.1:{port}", ["Content-Length: 10000000"], method="POST"
    )
    found = wire.statuses(wire.send(port, head + b"x" * 1000))
    assert found == [401]
    return "401, before it is read"


@attack("people", "40 bodies that come a byte now and then, half of them with Ana's login")
def _slow_bodies(target: Target) -> str:
    port = target.real.people_port
    ana = target.cookie("ana@example.com")
    length = "Content-Length: 100000"
    data = [
        wire.request("/runner/v1/runs", f"127.0.0.1:{port}", [length, *more], method="POST")
        for more in ([], [ana, f"Origin: {target.real.people}"])
    ]
    held = [one for start in data for one in wire.hold(port, 20, start)]
    try:
        for _ in range(5):
            for one in held:
                with suppress(OSError):  # it was answered and closed
                    one.sendall(b"x")
            assert wire.statuses(target.people("/runner/v1/status", ana)) == [200]
    finally:
        for one in held:
            one.close()
    # Go reads what is left of a body below 256 KB before it answers, however long that takes.
    return "they wait, and Ana is answered meanwhile"


@attack("people", "500 logins begun as fast as they go, while Ana works")
def _many_logins(target: Target) -> str:
    return one_of(_rush(target, "/oauth2/start"), SIGN_IN) + "; Ana is answered meanwhile"


@attack("people", "500 callbacks with invented codes as fast as they go, while Ana works")
def _many_callbacks(target: Target) -> str:
    answers = _rush(target, "/oauth2/callback?code=invented&state=invented%3A%2F")
    return one_of(answers, "403") + "; the provider is not asked, Ana is answered meanwhile"


def _rush(target: Target, address: str) -> list[str]:
    cookie = target.cookie("ana@example.com")
    with ThreadPoolExecutor(20) as pool:
        begun = [pool.submit(target.people, address) for _ in range(500)]
        answer = target.people("/runner/v1/status", cookie)
        assert wire.statuses(answer) == [200]
        return [target.told(one.result()) for one in begun]
