{{ config(materialized='incremental', unique_key='id', indexes=[{'columns': ['id'], 'unique': true}]) }}
select
    n as id,
    size.version,
    n * 37 % 1000 as amount,
    'customer ' || n % 500 as customer
from
    -- It waits while a test holds this lock: tests/harness/held_refresh.py.
    (select * from raw.size where pg_advisory_xact_lock_shared(1) is not null) as size,
    generate_series(1, size.rows) as n
