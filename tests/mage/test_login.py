"""A real Mage with the login on: who is who in it, what each role may, and what is closed.

Requests come as the proxy sends them, through the runner's relay; the proxy itself is in
tests/login.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import socket
import sqlite3
import struct
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.mage.project import DAILY_PIPELINE, DAILY_TRIGGER
from mage_dbt.server.relay import MageRelay
from tests.groups_header import groups_header
from tests.harness.mage import Mage
from tests.harness.pipelines import HOLD
from tests.harness.waiting import SECONDS, wait_until

HOST = "mage.example.com"

GROUPS = {
    "vera@example.com": "viewers",
    "ana@example.com": "analysts",
    "aki@example.com": "analysts",
    "olga@example.com": "operators",
    "otto@example.com": "owners",
}

BLOCK = f"""{HOLD}
@custom
def run(*args, **kwargs):
    hold()
    print("asked by " + str(kwargs.get("asked_by")))
    return 1
"""


@pytest.fixture(scope="module")
def mage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mage]:
    root = tmp_path_factory.mktemp("login")
    live = Mage(
        root,
        LOGIN_REQUIRED="true",
        MAGE_PUBLIC_URL=f"https://{HOST}",
        LOGIN_VIEWER_GROUPS="viewers",
        LOGIN_ANALYST_GROUPS="analysts",
        LOGIN_OPERATOR_GROUPS="operators",
        LOGIN_OWNER_GROUPS="owners",
    )
    read_or_make(live.home.proxy_people_secret)
    live.home.people_mage_socket.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(live.home.people_mage_socket))
    relay = MageRelay(live.settings, live.home)
    relay.start(listener)
    live.add_pipeline("mine", BLOCK)
    live.start()
    yield live
    live.stop()
    relay.stop()


def headers(mage: Mage, name: str, groups: str | None = None) -> dict[str, str]:
    secret = mage.home.proxy_people_secret.read_text()
    given = GROUPS[name] if groups is None else groups
    return {
        "Host": HOST,
        "X-Workspace-Proxy": secret,
        "X-Forwarded-Email": name,
        "X-Forwarded-Groups": groups_header(given, secret=secret),
    }


def person(mage: Mage, name: str, groups: str | None = None) -> httpx.Client:
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=str(mage.home.people_mage_socket)),
        base_url=f"http://{HOST}",
        headers=headers(mage, name, groups),
        timeout=SECONDS,
    )


def users(mage: Mage) -> dict[str, list[str]]:
    """Mage's users by e-mail address, each with its roles there."""
    with sqlite3.connect(mage.home.root / "mage.db", timeout=SECONDS) as connection:
        rows = connection.execute(
            "select user.email, role.name from user"
            " left join user_role on user_role.user_id = user.id"
            " left join role on role.id = user_role.role_id"
        ).fetchall()
        passwords = connection.execute(
            "select count(*) from user where password_hash is not null or owner"
        ).fetchone()
    assert passwords == (0,)
    found: dict[str, list[str]] = {}
    for email, role in rows:
        found.setdefault(email, []).append(role)
    return found


class WebSocket:
    """One of Mage's, as its pages open them."""

    def __init__(self, mage: Mage, name: str) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(SECONDS)
        self._connection.connect(str(mage.home.people_mage_socket))
        given = headers(mage, name) | {
            "Origin": f"https://{HOST}",
            **{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        lines = ["GET /websocket/ HTTP/1.1", *(f"{one}: {value}" for one, value in given.items())]
        self._connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            data = self._connection.recv(65536)
            if not data:
                break
            self._data += data
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ")[1])

    def send(self, message: dict[str, Any]) -> None:
        text = json.dumps(message).encode()
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))
        self._connection.sendall(struct.pack("!BBH", 0x81, 0xFE, len(text)) + mask + masked)

    def receive(self) -> str:
        """The next message."""
        length, begin = self._read(2)[1] & 0x7F, 2
        if length == 126:
            length, begin = struct.unpack("!H", self._read(4)[2:4])[0], 4
        elif length == 127:
            length, begin = struct.unpack("!Q", self._read(10)[2:10])[0], 10
        text = self._read(begin + length)[begin:]
        self._data = self._data[begin + length :]
        return text.decode()

    def received(self) -> bytes:
        """What has come so far."""
        self._connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self._data += self._connection.recv(1_000_000)
        return self._data

    def close(self) -> None:
        self._connection.close()

    def _read(self, length: int) -> bytes:
        while len(self._data) < length:
            data = self._connection.recv(65536)
            assert data, "the web socket was closed"
            self._data += data
        return self._data[:length]


def test_around_the_proxy_nothing_answers(mage: Mage) -> None:
    token = "the proxy has signed you in"
    content = json.dumps({"token": token, "expires": 2**31}).encode()
    body = base64.urlsafe_b64encode(content).decode().rstrip("=")
    forged = {
        **{"X-Workspace-Person": "otto@example.com", "X-Workspace-Role": "owner", "Host": HOST},
        **{"X-Forwarded-Email": "otto@example.com", "X-Forwarded-Groups": "owners"},
        "X-Workspace-Proxy": mage.home.proxy_people_secret.read_text(),
        "Cookie": f"oauth_token=e30.{body}.none",
        "OAUTH-TOKEN": token,
    }
    with httpx.Client(
        base_url=f"http://127.0.0.1:{mage.settings.mage_port}", trust_env=False, timeout=SECONDS
    ) as http:
        for path in ("/", "/api/statuses", "/api/pipelines", "/websocket/", "/ping", "/sign-in"):
            for given in ({}, forged, {**forged, "X-Workspace-Mage": "guessed"}):
                assert http.get(path, headers=given).status_code == 401, path


def test_the_first_visit_makes_the_person_a_user_with_the_groups_role(mage: Mage) -> None:
    for name in GROUPS:
        with person(mage, name) as http:
            assert http.get("/api/pipelines").json()["pipelines"], name
    assert users(mage) == {
        "vera@example.com": ["Viewer"],
        "ana@example.com": ["Editor"],
        "aki@example.com": ["Editor"],
        "olga@example.com": ["Editor"],
        "otto@example.com": ["Owner"],
        # The runner, when the test waited for Mage.
        "runner@workspace.invalid": ["Owner"],
    }


def test_another_group_is_another_role_at_the_next_call(mage: Mage) -> None:
    name = "kim@example.com"
    new = {"pipeline": {"name": "kims", "type": "python"}}
    with person(mage, name, "viewers") as http:
        assert http.get("/api/pipelines").status_code == 200
        assert http.post("/api/pipelines", json=new).status_code == 403
    assert users(mage)[name] == ["Viewer"]
    with person(mage, name, "analysts") as http:
        assert http.post("/api/pipelines", json=new).json()["pipeline"]["uuid"] == "kims"
    assert users(mage)[name] == ["Editor"]
    with person(mage, name, "viewers") as http:
        assert http.delete("/api/pipelines/kims").status_code == 403
    with person(mage, name, "") as http:
        assert http.get("/api/pipelines").status_code == 403


def test_a_viewer_reads_and_changes_nothing(mage: Mage) -> None:
    with person(mage, "vera@example.com") as http:
        for path in (
            *("/", "/pipelines", "/pipelines/mine/edit", "/api/statuses", "/api/pipelines/mine"),
            *("/api/pipeline_runs", "/api/pipeline_schedules", "/api/files", "/api/projects"),
            "/api/pipelines/mine/blocks/mine",
        ):
            answer = http.get(path)
            assert answer.status_code == 200 and '"error"' not in answer.text, answer.text[:300]
        for path in ("/api/secrets", "/api/roles", "/api/autocomplete_items"):
            assert http.get(path).status_code == 403, path
        changed = {"block": {"content": "changed"}}
        assert http.put("/api/pipelines/mine/blocks/mine", json=changed).status_code == 403
    opened = WebSocket(mage, "vera@example.com")
    opened.close()
    assert opened.status == 403
    assert "changed" not in (mage.home.mage_project / "custom" / "mine.py").read_text()


def test_a_viewer_finds_no_triggers_token_anywhere(mage: Mage) -> None:
    ours = mage.home.mage_trigger_token.read_text()
    with person(mage, "olga@example.com") as http:
        new = {"name": "hers", "schedule_type": "api", "status": "active"}
        made = http.post(
            "/api/pipelines/daily_full_build/pipeline_schedules", json={"pipeline_schedule": new}
        ).json()["pipeline_schedule"]
        saved = {"pipeline_trigger": {"pipeline_schedule_id": made["id"]}}
        http.post("/api/pipelines/daily_full_build/pipeline_triggers", json=saved)
        file = "/api/file_contents/pipelines%2Fdaily_full_build%2Ftriggers.yaml"
        text = http.get(file).json()["file_content"]["content"]  # an operator may edit it
        assert ours in text
        http.put(file, json={"file_content": {"content": text}})
    with sqlite3.connect(mage.home.root / "mage.db", timeout=SECONDS) as connection:
        rows = connection.execute("select distinct token from pipeline_schedule").fetchall()
    tokens = [token for (token,) in rows if token]
    assert ours in tokens and len(tokens) > 1
    pipelines = ("mine", "daily_full_build")
    files = [f"pipelines/{one}/triggers.yaml" for one in pipelines]
    files += [f"dbt-metric/{one}" for one in files]
    versions = mage.home.mage_project / ".file_versions"
    files += [str(one.relative_to(versions.parent)) for one in versions.rglob("*")]
    assert any(".file_versions" in one and "triggers.yaml" in one for one in files)
    paths = [
        *("/api/pipeline_schedules", "/api/pipeline_runs", "/api/backfills", "/api/interactions"),
        *("/api/pipelines?include_schedules=1", "/api/statuses", "/api/global_data_products"),
        *(f"/api/pipeline_schedules/{one}" for one in range(1, made["id"] + 1)),
        *(f"/api/pipelines/{one}?include_schedules=true" for one in pipelines),
        *(
            f"/api/pipelines/{one}/{part}"
            for one in pipelines
            for part in ("pipeline_schedules", "pipeline_triggers", "logs", "variables")
        ),
        *(f"/api/file_contents/{quote(one, safe='')}" for one in files),
        *(f"/api/files/{quote(one, safe='')}/file_versions" for one in files),
        *(f"/api/files/{quote(one, safe='')}" for one in files),
        *(f"/api/blocks/x?file_path={quote(one, safe='')}" for one in files),
        *(f"/api/blocks/{quote(one, safe='')}" for one in files),
    ]
    seen = ""
    with person(mage, "vera@example.com") as http:
        for path in paths:
            answer = http.get(path)
            assert [one for one in tokens if one in answer.text] == [], path
            seen += answer.text
    assert "*" * len(ours) in seen  # it did look where they stand


DAILY = f"pipelines/{DAILY_PIPELINE}"
DAILY_FILE = f"{DAILY}/triggers.yaml"
REFUSALS = (
    "takes the role operator; yours is analyst. An operator pauses the daily build or changes its "
    "time on the workspace's page Settings",
    f"{DAILY_TRIGGER!r} is the name of the workspace's own trigger",
)
SWITCHED_OFF = f"triggers:\n- name: {DAILY_TRIGGER}\n  status: inactive\n"


def daily_trigger(mage: Mage) -> dict[str, Any]:
    """The daily build's trigger, as Mage's database has it."""

    def row() -> dict[str, Any] | str:
        with sqlite3.connect(mage.home.root / "mage.db", timeout=SECONDS) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute(
                "select id, name, pipeline_uuid, status, schedule_interval, start_time, description"
                " from pipeline_schedule where pipeline_uuid = ? and name = ?",
                [DAILY_PIPELINE, DAILY_TRIGGER],
            ).fetchall()
        return dict(rows[0]) if rows else "Mage has not read it yet"

    return wait_until("Mage to know the trigger", row)


def ways_to_change_the_daily_build(number: int, hers: int) -> Iterator[tuple[str, str, Any]]:
    """Method, address and body. `number` is the trigger's, `hers` that of one of the same name."""
    pipeline, file = f"/api/pipelines/{DAILY_PIPELINE}", quote(DAILY_FILE, safe="")
    for address in (f"/api/pipeline_schedules/{number}", f"{pipeline}/pipeline_schedules/{number}"):
        for changed in (
            {"id": number, "status": "inactive"},
            {"schedule_interval": "0 3 * * *"},
            {"start_time": "2126-01-01 00:00:00+00:00"},
            {"settings": {"skip_if_previous_running": True}},
            {"name": "Mornings"},
        ):
            yield "PUT", address, {"pipeline_schedule": changed}
        yield "DELETE", address, None
    for status in ("inactive", "active"):
        yield "PUT", pipeline, {"pipeline": {"status": status}}
    yield "PUT", pipeline, {"pipeline": {"name": "mornings"}}
    yield "DELETE", pipeline, None
    made = {"custom_template_uuid": "mornings", "name": "Daily full build"}
    yield "POST", "/api/pipelines", {"pipeline": made}
    for trigger in (
        {"pipeline_schedule_id": number},
        {"pipeline_schedule_id": hers},
        {
            **{"name": DAILY_TRIGGER, "status": "inactive", "pipeline_uuid": DAILY_PIPELINE},
            **{"schedule_type": "time", "schedule_interval": "@daily", "start_time": None},
        },
    ):
        yield "POST", f"{pipeline}/pipeline_triggers", {"pipeline_trigger": trigger}
    content = {"content": SWITCHED_OFF}
    for address in (f"/api/file_contents/{file}", f"/api/file_contents/{quote(file, safe='')}"):
        yield "PUT", address, {"file_content": content}
    new = {"dir_path": DAILY, "name": "triggers.yaml", "overwrite": True}
    yield "POST", "/api/files", {"file": new}
    yield "POST", "/api/files", {"file": new | {"dir_path": f"{DAILY}/../daily_full_build"}}
    yield "PUT", f"/api/files/{file}", {"file": {"dir_path": DAILY, "name": "away.yaml"}}
    yield "DELETE", f"/api/files/{file}", None
    other = quote("pipelines/mine/triggers.yaml", safe="")
    yield "PUT", f"/api/files/{other}", {"file": {"dir_path": DAILY, "name": "triggers.yaml"}}
    moved = {"folder": {"path": DAILY, "name": "triggers.yaml"}}
    yield "PUT", f"/api/folders/{other}", moved
    for folder in (DAILY, "pipelines"):
        yield "PUT", f"/api/folders/{quote(folder, safe='')}", {"folder": {"name": "away"}}
        yield "DELETE", f"/api/folders/{quote(folder, safe='')}", None


def test_below_operator_nothing_on_mages_pages_changes_the_daily_builds_trigger(mage: Mage) -> None:
    with person(mage, "ana@example.com") as http:
        # A template of hers with a trigger of that name, and such a trigger in a pipeline of hers.
        trigger = {"name": DAILY_TRIGGER, "schedule_type": "time", "status": "inactive"}
        made = http.post(
            "/api/pipelines/mine/pipeline_schedules", json={"pipeline_schedule": trigger}
        )
        hers = made.json()["pipeline_schedule"]["id"]
        template = {
            **{"object_type": "pipelines", "template_uuid": "mornings", "name": "mornings"},
            "pipeline_uuid": "mine",
        }
        saved = http.post("/api/custom_templates", json={"custom_template": template})
        assert '"error"' not in saved.text, saved.text
        before = daily_trigger(mage), (mage.home.mage_project / DAILY_FILE).read_text()
        for method, address, body in ways_to_change_the_daily_build(before[0]["id"], hers):
            answer = http.request(method, address, json=body)
            message = (answer.json().get("error") or {}).get("message", answer.text)
            assert any(one in message for one in REFUSALS), (method, address, body, message)
            found = daily_trigger(mage), (mage.home.mage_project / DAILY_FILE).read_text()
            assert found == before, (method, address, body)
        http.delete(f"/api/pipeline_schedules/{hers}")


def zipped(config: dict[str, Any]) -> bytes:
    """A pipeline with one block as Mage's page exports it."""
    [block] = config["blocks"]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr(f"pipelines/{config['uuid']}/metadata.yaml", yaml.safe_dump(config))
        made.writestr(f"custom/{block['uuid']}.py", BLOCK)
    return file.getvalue()


def imported(http: httpx.Client, content: bytes, overwrite: bool) -> str:
    """What is wrong with an import, as Mage's page asks for it; empty where nothing is."""
    asked = {"file": {"dir_path": "", "pipeline_zip": True, "overwrite": overwrite}}
    answer = http.post(
        "/api/files",
        data={"json_root_body": json.dumps(asked)},
        files={"file": ("pipeline.zip", content, "application/zip")},
    )
    return str((answer.json().get("error") or {}).get("message", ""))


def ways_to_change_a_pipeline(own: str) -> Iterator[tuple[str, str, Any]]:
    """Method, address and body: what removes, renames or rearranges a pipeline, or its block."""
    pipeline, block = f"/api/pipelines/{own}", f"/api/pipelines/{own}/blocks/{own}"
    yield "DELETE", pipeline, None
    for changed in ({"name": "mornings"}, {"executor_type": "k8s"}):
        yield "PUT", pipeline, {"pipeline": changed}
    yield "DELETE", f"/api/folders/{quote(f'pipelines/{own}', safe='')}", None
    for query in ("", "?block_type=custom", "?block_type=custom&force=true"):
        yield "DELETE", f"{block}{query}", None
    for change in ({"name": "other"}, {"timeout": 1}, {"upstream_blocks": [f"about_{own}"]}):
        yield "PUT", block, {"block": change}
    beside = {"name": "first", "type": "custom", "language": "python", "content": BLOCK}
    yield "POST", f"{pipeline}/blocks", {"block": beside}
    yield "POST", f"{pipeline}/blocks", {"block": beside | {"type": "conditional"}}
    variable = {"variable": {"name": "why", "value": "hers"}}
    yield "POST", f"{pipeline}/variables", variable
    for file in (f"pipelines/{own}/metadata.yaml", f"custom/{own}.py"):
        folder, _, name = file.rpartition("/")
        address = f"/api/files/{quote(file, safe='')}"
        yield "DELETE", address, None
        yield "PUT", address, {"file": {"dir_path": folder, "name": f"away-{name}"}}
    new = {"dir_path": f"pipelines/{own}", "name": "metadata.yaml", "overwrite": True}
    yield "POST", "/api/files", {"file": new}
    written = f"/api/file_contents/{quote(f'pipelines/{own}/metadata.yaml', safe='')}"
    yield "PUT", written, {"file_content": {"content": f"name: {own}\nblocks: []\n"}}


def test_below_operator_no_pipeline_of_the_workspaces_own_is_imported_over_or_changed(
    mage: Mage,
) -> None:
    project = mage.home.mage_project
    daily = project / DAILY / "metadata.yaml"
    mine = yaml.safe_load((project / "pipelines/mine/metadata.yaml").read_text())
    over_daily = zipped({**mine, "uuid": DAILY_PIPELINE, "name": DAILY_PIPELINE})
    [block] = mine["blocks"]
    over_block = zipped({**mine, "uuid": "hers", "blocks": [{**block, "uuid": DAILY_PIPELINE}]})
    # Mage's older versions of a file stand in a folder that is named as the file.
    files = [path for path in project.rglob("*") if path.suffix in (".yaml", ".py")]
    before = {path: path.read_bytes() for path in files if path.is_file()}
    with person(mage, "ana@example.com") as http:
        for content in (over_daily, over_block):
            refusal = imported(http, content, overwrite=True)
            assert refusal.startswith("Nothing was imported."), refusal
            assert "takes the role operator; yours is analyst" in refusal
        for method, address, body in ways_to_change_a_pipeline("rerun_failed"):
            answer = http.request(method, address, json=body)
            message = (answer.json().get("error") or {}).get("message", answer.text)
            assert "takes the role operator; yours is analyst" in message, (method, address, body)
            assert {path: path.read_bytes() for path in before} == before, (method, address, body)
        assert {path: path.read_bytes() for path in before} == before
        assert not (project / "pipelines/hers").exists()
        # Beside it she may have what she likes: Mage gives it another name.
        assert imported(http, over_daily, overwrite=False) == ""
        assert (project / f"pipelines/{DAILY_PIPELINE}_1/metadata.yaml").exists()
    kept = daily.read_bytes()
    with person(mage, "olga@example.com") as http:
        assert imported(http, over_daily, overwrite=True) == ""
        assert daily.read_bytes() != kept
    daily.write_bytes(kept)


def test_an_operator_switches_the_daily_build_in_mage_and_an_analyst_runs_it_once(
    mage: Mage,
) -> None:
    number = daily_trigger(mage)["id"]
    with person(mage, "olga@example.com") as http:
        for status in ("inactive", "active"):
            changed = {"pipeline_schedule": {"id": number, "status": status}}
            answer = http.put(f"/api/pipeline_schedules/{number}", json=changed)
            assert '"error"' not in answer.text, answer.text
            assert daily_trigger(mage)["status"].lower() == status
    with person(mage, "ana@example.com") as http:
        once = {"schedule_interval": "@once", "schedule_type": "time", "status": "active"}
        at_nine = {"name": "At nine", "schedule_interval": "0 9 * * *", "schedule_type": "time"}
        made = http.post(
            f"/api/pipeline_schedules/{number}/pipeline_runs", json={"pipeline_run": {}}
        )
        assert made.json()["pipeline_run"]["pipeline_schedule_id"] == number, made.text
        for trigger in (once, at_nine):
            made = http.post(
                f"/api/pipelines/{DAILY_PIPELINE}/pipeline_schedules",
                json={"pipeline_schedule": trigger},
            ).json()
            assert made["pipeline_schedule"]["pipeline_uuid"] == DAILY_PIPELINE, made
            hers = made["pipeline_schedule"]["id"]
        saved = {"pipeline_trigger": {"pipeline_schedule_id": hers}}
        answer = http.post(f"/api/pipelines/{DAILY_PIPELINE}/pipeline_triggers", json=saved)
        assert '"error"' not in answer.text, answer.text
        assert '"error"' not in http.delete(f"/api/pipeline_schedules/{hers}").text
        described = {"pipeline": {"name": DAILY_PIPELINE, "description": "Builds everything."}}
        answer = http.put(f"/api/pipelines/{DAILY_PIPELINE}", json=described)
        assert '"error"' not in answer.text, answer.text


@pytest.mark.parametrize("name", ["ana@example.com", "olga@example.com", "otto@example.com"])
def test_an_analyst_and_whoever_is_more_edits_and_runs(mage: Mage, name: str) -> None:
    with person(mage, name) as http:
        content = f"{BLOCK}\n# {name}\n"
        file = {"file_content": {"content": content}}
        changed = http.put("/api/file_contents/custom%2Fmine.py", json=file)
        assert '"error"' not in changed.text, changed.text[:500]
        assert (mage.home.mage_project / "custom" / "mine.py").read_text() == content
        once = {
            "pipeline_schedule": {
                **{"name": f"once {name}", "schedule_interval": "@once", "schedule_type": "time"},
                **{"status": "active", "variables": {"asked_by": "somebody@else.example"}},
            }
        }
        made = http.post("/api/pipelines/mine/pipeline_schedules", json=once).json()
        schedule = made["pipeline_schedule"]["id"]

        def begun() -> int | str:
            answer = http.get(f"/api/pipeline_schedules/{schedule}/pipeline_runs").json()
            assert "error" not in answer, answer
            runs = answer["pipeline_runs"]
            return int(runs[0]["id"]) if runs else "no run yet"

        number = wait_until("the schedule's run", begun)
        assert mage.ended(number) == "completed"
        logs = http.get(f"/api/pipelines/mine/logs?pipeline_run_id[]={number}").text
        assert f"asked by {name}" in logs


def test_a_triggers_run_bears_the_name_of_who_begins_it(mage: Mage) -> None:
    with person(mage, "aki@example.com") as http:
        answer = http.get("/api/pipelines/mine/pipeline_schedules").json()
        (trigger,) = [
            one["id"] for one in answer["pipeline_schedules"] if one["schedule_type"] == "api"
        ]
        asked = {"pipeline_run": {"variables": {"asked_by": "somebody@else.example"}}}
        made = http.post(f"/api/pipeline_schedules/{trigger}/pipeline_runs", json=asked).json()
        number = made["pipeline_run"]["id"]
        assert mage.ended(number) == "completed"
        logs = http.get(f"/api/pipelines/mine/logs?pipeline_run_id[]={number}").text
        assert "asked by aki@example.com" in logs


def test_a_cancelled_run_bears_the_name_of_who_cancels_it(mage: Mage) -> None:
    with person(mage, "aki@example.com") as http:
        answer = http.get("/api/pipelines/mine/pipeline_schedules").json()
        (trigger,) = [
            one["id"] for one in answer["pipeline_schedules"] if one["schedule_type"] == "api"
        ]
        asked: dict[str, Any] = {"pipeline_run": {"variables": {}}}
        with mage.blocks_held():
            made = http.post(f"/api/pipeline_schedules/{trigger}/pipeline_runs", json=asked).json()
            number = made["pipeline_run"]["id"]
            mage.begun(number)
            with person(mage, "ana@example.com") as ana:
                change = {"pipeline_run": {"status": "cancelled"}}
                assert '"error"' not in ana.put(f"/api/pipeline_runs/{number}", json=change).text
            assert mage.ended(number) == "cancelled"
    variables = mage.pipeline_run(number)["variables"]
    assert variables["cancelled_by"] == "ana@example.com"
    assert variables["asked_by"] == "aki@example.com"


def test_a_dbt_model_is_not_made_as_a_block(mage: Mage) -> None:
    block = {"name": "fct_orders", "type": "dbt", "language": "sql", "content": "select 1"}
    with person(mage, "ana@example.com") as http:
        answer = http.post("/api/pipelines/mine/blocks", json={"block": block})
        assert "a second copy of dbt-metric" in answer.text
        blocks = http.get("/api/pipelines/mine").json()["pipeline"]["blocks"]
    assert [one["uuid"] for one in blocks] == ["mine"]


def test_an_analyst_downloads_a_blocks_output_without_a_token(mage: Mage) -> None:
    with person(mage, "ana@example.com") as http:
        answer = http.get("/api/pipelines/mine/block_outputs/mine/downloads")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/csv")


def test_only_an_owner_administers_mage(mage: Mage) -> None:
    new = {"user": {"email": "eve@example.com", "username": "eve", "password": "12345678"}}
    with person(mage, "olga@example.com") as http:
        for path in ("/api/roles", "/api/permissions", "/api/user_roles"):
            assert http.get(path).status_code == 403, path
        assert http.post("/api/users", json=new).status_code == 403
        project = {"project": {"help_improve_mage": True}}
        assert http.put("/api/projects/dbt-metric", json=project).status_code == 403
    with person(mage, "otto@example.com") as http:
        assert {"Owner", "Editor"} <= {
            one["name"] for one in http.get("/api/roles").json()["roles"]
        }


def test_the_page_knows_who_is_signed_in_and_its_cookie_opens_nothing(mage: Mage) -> None:
    with person(mage, "ana@example.com") as http:
        page = http.get("/pipelines")
        assert "ana@example.com" in page.text and page.headers["cache-control"] == "no-store"
        cookie = page.headers["set-cookie"]
        assert http.get("/sign-in").headers["location"] == "/"
        for path in ("/api/sessions", "/api/oauths/google", "/api/runs"):
            assert http.post(path, json={}).status_code == 403
    address = f"http://127.0.0.1:{mage.settings.mage_port}/api/pipelines"
    given = {"Cookie": cookie.split(";")[0], "Host": HOST}
    assert httpx.get(address, headers=given, trust_env=False, timeout=SECONDS).status_code == 401


def test_what_a_notebook_prints_goes_to_who_ran_it(mage: Mage) -> None:
    ana, aki = WebSocket(mage, "ana@example.com"), WebSocket(mage, "aki@example.com")
    assert (ana.status, aki.status) == (101, 101)
    code = 'print("for", "ana", "alone")'
    ana.send({"pipeline_uuid": "mine", "uuid": "mine", "type": "custom", "code": code})
    while "for ana alone" not in (text := ana.receive()):
        assert "Traceback" not in text
    assert b"for ana alone" not in aki.received()
    for one in (ana, aki):
        one.close()
    assert "for ana alone" not in (mage.home.logs / "mage.log").read_text()


def test_the_runner_itself_still_starts_and_reads(mage: Mage) -> None:
    assert mage.ended(mage.trigger("mine")) == "completed"
