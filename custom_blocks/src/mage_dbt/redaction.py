"""Takes secrets out of text that leaves a process."""

from __future__ import annotations

import os

SECRET_PREFIX = "DBT_ENV_SECRET_"


def scrub(text: str) -> str:
    """`text` without the values of this process's variables named DBT_ENV_SECRET_…"""
    for name, value in os.environ.items():
        if name.startswith(SECRET_PREFIX) and value:
            text = text.replace(value, "*****")
    return text
