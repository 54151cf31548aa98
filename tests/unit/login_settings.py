"""Settings of a workspace that asks for a login."""

from __future__ import annotations

LOGIN = {
    "LOGIN_REQUIRED": "true",
    "MAGE_PUBLIC_URL": "https://mage.example.com",
    "LOGIN_VIEWER_GROUPS": "everybody",
    "LOGIN_ANALYST_GROUPS": "analysts, data",
    "LOGIN_OPERATOR_GROUPS": "operators",
    "LOGIN_OWNER_GROUPS": "owners",
}
