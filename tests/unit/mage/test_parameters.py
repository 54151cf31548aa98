"""What of an address's parameters reaches Mage."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from mage_dbt.identity.role import Role
from mage_dbt.mage.gateway import parameters, rules

HANGS = "^(([a-z]+)+)+!$"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("_limit", "30"),
            ("_offset", "0"),
            ("_format", "with_runtime_average"),
            ("force", "true"),
        ),
        *(
            ("order_by[]", "created_at desc"),
            ("order_by", "block_uuid%20asc"),
            ("status", "failed"),
        ),
        *(("pipeline_uuid", "daily_full_build"), ("block_uuid", "folder/my block.py")),
        *(("file_path", "custom%252F주문 (1).py"), ("directory_path", "."), ("search", "a.*(b")),
        *(("pipeline_run_id[]", "1,22"), ("start_timestamp", "1764396853.5"), ("status[]", "")),
        *(
            ("exclude_pattern", "a^"),
            ("schedule_interval[]", "@daily,0 8 * * *"),
            ("force", "null"),
        ),
        *(("tag[]", "every morning"), ("start_time", "2026-11-29 08:00:00")),
    ],
)
def test_what_mages_pages_send_arrives(name: str, value: str) -> None:
    assert parameters.known(name) and parameters.wrong(name, [value.encode()]) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("exclude_pattern", HANGS), ("exclude_dir_pattern", "a^|x"), ("exclude_pattern", "a^\n")),
        *(("order_by[]", "query delete"), ("order_by[]", "id desc,query delete")),
        *(("order_by", "id __class__"), ("order_by", "id.desc"), ("_order_by[]", "-password")),
        *(("directory_path", "/etc"), ("directory_path", ".."), ("directory_path", "a/../../b")),
        *(("file_path", "/etc/passwd"), ("file_path", "a//b"), ("file_path", "a\\..\\b")),
        *(("pipeline_uuid", "../x"), ("pipeline_uuid[]", "mine,/x"), ("block_uuid", "a\0b")),
        *(("_limit", "1; drop"), ("sample_count", "1e9"), ("_format", "a/b"), ("force", "1 or 1")),
        *(("search", "a\nb"), ("status", "a" * 200), ("start_time", "now()")),
    ],
)
def test_a_value_of_another_kind_is_refused_in_every_encoding(name: str, value: str) -> None:
    for _ in range(3):
        assert f"`{name}` is" in parameters.wrong(name, [b"", value.encode()])
        value = quote(value, safe="")
    assert parameters.wrong(name, [quote(quote(value)).encode()])
    assert parameters.wrong(name, [b"\xff\xfe"])


@pytest.mark.parametrize(
    "name",
    [
        *("pattern", "flatten", "repo_path", "project_path", "project_uuid", "content_override"),
        *("configuration_override", "data_source_override", "os[]", "__class__", "token", "FORCE"),
    ],
)
def test_what_is_not_listed_is_taken_out(name: str) -> None:
    assert not parameters.known(name)


def test_a_path_from_the_root_is_no_address_however_it_is_encoded() -> None:
    path = "/etc/passwd"
    for _ in range(5):
        path = quote(path, safe="")
        found = rules.refusal("DELETE", f"/api/files/{path}", Role.OWNER)
        assert found is not None and found.status == 404
    inside = "custom/new file.py"
    for _ in range(2):
        inside = quote(inside, safe="")
        assert rules.refusal("DELETE", f"/api/files/{inside}", Role.OWNER) is None
