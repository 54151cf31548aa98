-- It waits while a test holds this lock: tests/harness/held_refresh.py.
select missing
from (select pg_advisory_xact_lock_shared(2) is null as missing offset 0) as waits
where missing or not exists (select from {{ ref('facts') }})
