"""The model `facts` of the project `steps`, as it is and broken."""

from __future__ import annotations

FACTS = """{{ config(materialized='incremental', unique_key='id') }}
-- One row a number.
select
    id,
    amount
from {{ ref('numbers') }}
"""

BROKEN = FACTS.replace("    amount\n", "    amount / 0 as amount\n")
