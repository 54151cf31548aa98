"""The runner: takes requests, plans and runs them, keeps the ledger, and answers every caller."""
