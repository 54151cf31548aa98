"""What of a rendered profile is secret, whatever its adapter calls it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mage_dbt.dbt.profile_secrets import secrets_of, written_in

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END PRIVATE KEY-----\n"

POSTGRES = {"type": "postgres", "host": "db.example", "user": "team", "schema": "analytics"}


def shown(output: dict[str, Any], *keys: str) -> dict[str, Any]:
    """As an adapter shows them."""
    return {key: output[key] for key in (*keys, "type")}


@pytest.mark.parametrize("key", ["password", "pass"])
def test_a_password_is_secret_and_what_is_shown_is_not(key: str) -> None:
    output = POSTGRES | {key: "hunter2", "port": 5432}
    for given in (None, shown(output, "host", "user", "schema")):
        assert secrets_of(output, given) == {"hunter2"}


def test_a_number_may_be_a_password() -> None:
    assert secrets_of(POSTGRES | {"password": 12345678}, None) == {"12345678"}


def test_a_password_that_is_shown_as_something_else_is_not_hidden() -> None:
    output = POSTGRES | {"password": "team"}
    assert secrets_of(output, None) == set()
    assert secrets_of(output, shown(output, "host", "user", "schema")) == set()


def test_keys_of_other_adapters_are_secret() -> None:
    snowflake = {
        **{"type": "snowflake", "account": "acme-prod", "user": "team", "protocol": "http"},
        **{"private_key": PEM, "private_key_passphrase": "hunter2", "token": "t0ken"},
        "oauth_client_secret": "cl1ent",
    }
    lines = set(PEM.splitlines()[1:3])
    assert secrets_of(snowflake, None) == {PEM, "hunter2", "t0ken", "cl1ent"} | lines
    assert secrets_of(snowflake, shown(snowflake, "account", "user")) == (
        {PEM, "hunter2", "t0ken", "cl1ent"} | lines  # `http` is a word
    )


@pytest.mark.parametrize("as_text", [False, True])
def test_a_keys_file_may_be_a_mapping_or_one_text(as_text: bool) -> None:
    file = {"type": "service_account", "client_email": "x@y.example", "private_key": PEM}
    output = {
        **{"type": "bigquery", "method": "service-account-json", "project": "acme"},
        "keyfile_json": json.dumps(file) if as_text else file,
    }
    assert PEM in secrets_of(output, None)
    assert {PEM, "MIIEvQIBADANBg"} <= secrets_of(output, shown(output, "method", "project"))


def test_what_an_adapter_does_not_show_is_secret_whatever_it_is_called() -> None:
    output = {"type": "other", "host": "db.example", "door": "0pen-sesame", "mode": "fast"}
    assert secrets_of(output, shown(output, "host")) == {"0pen-sesame"}


def test_secrets_in_what_an_adapter_shows_are_secret() -> None:
    output = {
        **{"type": "duckdb", "path": "md:sales?motherduck_token=t0ken"},
        "settings": {"s3_region": "eu-west-1", "s3_secret_access_key": "s3cret"},
        "attach": [{"path": "postgres:dbname=x password=hunter2"}, {"path": "mysql://kim:pw12@h"}],
    }
    assert secrets_of(output, shown(output, "path", "settings", "attach")) == {
        *("t0ken", "s3cret", "hunter2", "pw12"),
    }


def test_passwords_in_a_connection_string_are_secret() -> None:
    output = {"type": "sqlserver", "host": "db", "dsn": "Driver=x;UID=kim;PWD=hunter2"}
    assert "hunter2" in secrets_of(output, None)


@pytest.mark.parametrize(
    "line",
    [
        "password: 'hunter2",
        "password: hunter2'",
        'password: "hunter2',
        '"pass" : hunter2',
        "- token: hunter2 ",
        "{user: kim, password: hunter2",
        "{password: 'hunter2}",
    ],
)
def test_secrets_are_found_in_a_profile_that_cannot_be_read(line: str) -> None:
    """dbt shows the lines around the fault."""
    assert "hunter2" in written_in(f"any:\n  outputs:\n    {line}\n    port: 5")


def test_a_password_of_the_wrong_shape_is_secret_too() -> None:
    for wrong in ({"typed": "hunter2-hunter2"}, ["hunter2-hunter2"]):
        assert secrets_of(POSTGRES | {"password": wrong}, None) == {"hunter2-hunter2"}
