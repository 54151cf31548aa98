"""The ledger: the append-only history of runs and commits, in PostgreSQL."""

from mage_dbt.ledger.ledger import Ledger

__all__ = ["Ledger"]
