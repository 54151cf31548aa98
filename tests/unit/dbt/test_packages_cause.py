"""Why `dbt deps` failed: the network, rights, or what the commit asks for."""

from __future__ import annotations

import pytest
import requests

from mage_dbt.dbt.package_sources import ACCESS, NETWORK, cause_of


def raised(*errors: BaseException) -> BaseException:
    """The last error, raised while the one before was handled, and so on."""
    last = errors[0]
    for error in errors[1:]:
        error.__context__ = last
        last = error
    return last


def answered(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} for url", response=response)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            raised(requests.ConnectionError("x"), RuntimeError("External connection exception")),
            NETWORK,
        ),
        (requests.Timeout("x"), NETWORK),
        (raised(answered(503), RuntimeError("External connection exception")), NETWORK),
        (raised(answered(404), RuntimeError("External connection exception")), ""),
        (RuntimeError("fatal: unable to access 'https://h/': Could not resolve host: h"), NETWORK),
        (RuntimeError("ssh: connect to host h port 22: Connection refused"), NETWORK),
        (RuntimeError("Failed to connect to h port 443: Couldn't connect to server"), NETWORK),
        (RuntimeError("The requested URL returned error: 502"), NETWORK),
        (RuntimeError("The requested URL returned error: 404"), ""),
        (RuntimeError("The requested URL returned error: 403"), ACCESS),
        (
            RuntimeError("could not read Username for 'https://h': terminal prompts disabled"),
            ACCESS,
        ),
        (RuntimeError("git@h: Permission denied (publickey)."), ACCESS),
        (RuntimeError("error: pathspec 'v9.9.9' did not match any file(s) known to git"), ""),
        (RuntimeError("Remote branch v9.9.9 not found in upstream origin"), ""),
        (RuntimeError("Version error for package dbt-labs/dbt_utils: no such version"), ""),
        (None, ""),
    ],
)
def test_only_a_connection_is_called_the_network(error: BaseException | None, cause: str) -> None:
    assert cause_of(error) == cause
