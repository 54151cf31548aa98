"""Models of the project `steps` as tests of the whole workspace change them."""

from __future__ import annotations

INCREMENTAL = "{{ config(materialized='incremental', unique_key='id') }}"
GOOD = f"{INCREMENTAL} select id, amount from {{{{ ref('numbers') }}}}"
BAD = f"{INCREMENTAL} select id / 0 as id, amount from {{{{ ref('numbers') }}}}"
