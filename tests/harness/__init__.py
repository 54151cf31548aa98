"""The real things that tests start, ask and end; tests/README.md is their map.

    base.Harness          a home with processes in it: find, kill, read logs
    runs.WithRunner       … whose runner takes requests
    pipelines.WithMage    … whose Mage runs pipelines

    runner.Runner         PostgreSQL, git-sync and the runner, without Mage
    mage.Mage             Mage, without a runner
    workspace.Workspace   `scripts/start` with all of it
    login.Login           the proxies and an identity provider
    queue.Queue           the queue alone, on a real ledger
    database.Database     PostgreSQL alone

What all of them use: `waiting` (the one way to wait), `ports`, `repository`, `environments`.
"""
