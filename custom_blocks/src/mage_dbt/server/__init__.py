"""The runner's HTTP API, on its Unix socket and on loopback; docs/api.md is its manual."""
