"""A new cookie secret ends every session, and people sign in again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

from mage_dbt.base.processes import wait_until_ended
from mage_dbt.launcher import oauth2_proxy, rotate
from mage_dbt.settings import Settings
from tests.harness import login
from tests.harness.login import Login, running, try_to_sign_in, wait_for_answer
from tests.harness.waiting import SECONDS

ANA = "ana@example.com"


def people_process(found: Login) -> psutil.Process:
    wanted = f"127.0.0.1:{found.people_port}"
    for one in psutil.Process().children():
        with suppress(psutil.Error):  # one that has ended and that no test has waited for
            if one.environ().get("PEOPLE_LISTEN") == wanted:
                return one
    raise AssertionError("the proxy of people does not run")


def test_a_new_cookie_secret_ends_every_session(
    tmp_path: Path, proxy_program: Path, provider_program: Path
) -> None:
    with login.started(tmp_path / "login", proxy_program) as found, found.sign_in(ANA) as browser:
        assert browser.get("/").status_code == 200
        old = found.home.people_cookie_secret.read_text()
        environ = {"WORKSPACE_HOME": str(found.home.root)}
        settings = Settings.load(environ, tmp_path / "no.env")
        rotate.rotate("cookies", settings, found.home, False, print)
        assert found.home.people_cookie_secret.read_text() != old
        process = people_process(found)
        environ = process.environ()
        assert old not in environ.values(), "the secret comes from its file"
        process.terminate()
        assert wait_until_ended([process], SECONDS) == []
        log = tmp_path / "again.log"
        with running(oauth2_proxy.people_launch(proxy_program), environ, log) as again:
            wait_for_answer(f"{found.people}/ping", again, log)
            answer = browser.get("/", headers={"Accept": "application/json"})
            assert answer.status_code in (302, 401, 403), "the old cookie is worth nothing"
            assert try_to_sign_in(browser, ANA).status_code == 200
            assert browser.get("/").status_code == 200
        assert old not in log.read_text() and old not in found.log("people")
