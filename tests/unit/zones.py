"""Zones and years whose clocks have done every odd thing that clocks do."""

from __future__ import annotations

ZONES = (
    "Asia/Seoul",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Africa/Cairo",
    "America/Sao_Paulo",
)

YEARS = (2011, 2018, 2026)
