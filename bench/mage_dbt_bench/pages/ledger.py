"""A large ledger for measuring the page: many runs, and a few with very many nodes.

The rows are written by SQL in the form in which a runner writes them. Nothing is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

NOTIFYING = "notify_event"
"""The trigger that wakes streams: a hundred thousand notifications would fill its queue."""

STEP = timedelta(minutes=10)
"""Between two runs: 144 of them are a day."""

LAST_AGO = timedelta(hours=2)
"""A living runner ends what nobody executes and was asked for within an hour."""

RUNS = """
insert into ledger.run (
    id, asked_at, idempotency_key, operation, cause, caller, why, request, commit, commit_subject,
    target, dbt_version, mage_run, follows, morning, late_seconds
)
select
    run_id, asked_at, null, operation, cause, caller, '', jsonb_build_object(
        'operation', operation,
        'models', case when operation in ('build', 'full_refresh') and n %% 144 <> 0
            then jsonb_build_array('model_' || lpad((n %% %(models)s)::text, 5, '0'))
            else '[]'::jsonb end,
        'command', case when operation = 'command' then 'run --select tag:hourly' else '' end,
        'cause', cause, 'caller', caller
    ),
    case when n %% 144 = 0 or n = %(runs)s - 1 then %(commit)s
        else md5((n / 20)::text) || '01234567' end,
    'Change number ' || n / 20, 'prod', '1.10.0', n + 1, null,
    case when n %% 144 = 0 then asked_at::date end, 0
from (
    select
        n,
        %(first)s::timestamptz + n * %(step)s::interval as asked_at,
        to_char(%(first)s::timestamptz + n * %(step)s::interval, 'YYYYMMDD-HH24MISS-')
            || lpad(to_hex(n), 6, '0') as run_id,
        case when n %% 144 = 0 then 'build' else
            (array['build', 'command', 'build', 'full_refresh'])[1 + n %% 4] end as operation,
        case when n %% 144 = 0 then 'schedule' else
            (array['page', 'api', 'tool', 'form'])[1 + n %% 4] end as cause,
        case when n %% 144 = 0 then 'schedule' else 'person' || n %% 25 end as caller
    from generate_series(0, %(runs)s - 1) as n
) as numbered
"""

SMALL = """
insert into ledger.event (run, at, kind, data)
select run, at, kind, data
from (
    select id, asked_at, row_number() over (order by asked_at) as n from ledger.run
) as run_of
cross join lateral (values
    (1, 0, 'state', jsonb_build_object('state', 'Queued', 'detail', '')),
    (2, 1, 'state', jsonb_build_object('state', 'Starting', 'detail', '')),
    (3, 2, 'plan', jsonb_build_object(
        'names', jsonb_build_array('model_' || lpad((n %% %(models)s)::text, 5, '0')),
        'nodes', '[]'::jsonb, 'warnings', '[]'::jsonb, 'notes', '[]'::jsonb, 'counted', 1)),
    (4, 3, 'state', jsonb_build_object('state', 'Running', 'detail', '')),
    (5, 30, 'state', jsonb_build_object(
        'state', case when n %% 17 = 0 then 'Error' else 'Success' end, 'detail', ''))
) as event_of (place, after, kind, data_of)
cross join lateral (
    select id as run, asked_at + after * interval '1 second' as at, data_of as data
) as written
where id <> all(%(large)s)
order by asked_at, place
"""

SMALL_RESULTS = """
insert into ledger.node_result (
    run, node, at, name, type, status, seconds, rows, message, because, relation, materialized
)
select
    id, 'model.bench.' || name, asked_at + interval '29 seconds', name, 'model',
    case when n %% 17 = 0 then 'error' else 'success' end, 20, n %% 1000,
    case when n %% 17 = 0 then 'column "x" does not exist' else 'SELECT' end, '',
    'analytics.' || name, 'table'
from (
    select id, asked_at, n, 'model_' || lpad((n %% %(models)s)::text, 5, '0') as name
    from (
        select id, asked_at, row_number() over (order by asked_at) as n from ledger.run
    ) as numbered
) as run_of
where id <> all(%(large)s)
"""

# Two tests for each model after the first 5,000 nodes; eight nodes at once.
NODES = """
create temporary table large_node on commit drop as
select
    i,
    case when i <= models then 'model' else 'test' end as type,
    case when i <= models then 'table' else '' end as materialized,
    case when i <= models then 'model.bench.model_' || lpad((i - 1)::text, 5, '0')
        else 'test.bench.not_null_' || lpad((i - 1)::text, 5, '0') end as node,
    case when i <= models then 'model_' || lpad((i - 1)::text, 5, '0')
        else 'not_null_' || lpad((i - 1)::text, 5, '0') end as name,
    case when i <= models then to_jsonb(array_remove(array[
        case when i > 16 then 'model.bench.model_' || lpad((i / 2 - 1)::text, 5, '0') end,
        case when i > 40 then 'model.bench.model_' || lpad((i / 3 - 1)::text, 5, '0') end
    ], null)) else jsonb_build_array(
        'model.bench.model_' || lpad(((i - models - 1) %% models)::text, 5, '0')
    ) end as depends_on,
    (i / 8) * 0.16 as after,
    case when i %% 500 = 0 then 4.2 else 0.03 + (i %% 12) / 100.0 end as seconds,
    case
        when failing then case
            when i in (120, 700, models + 40) then
                case when i <= models then 'error' else 'fail' end
            when i %% 61 = 0 then 'skipped'
            else passed
        end
        when early and i between 17 and 33 then 'error'
        when early and i > 33 then 'skipped'
        else passed
    end as status,
    -- Of the first models that failed early each other one depends on one.
    'model_' || lpad(case when early then 16 + i %% 17 else 119 end::text, 5, '0') as because
from generate_series(1, %(nodes)s) as i
cross join (
    select least(%(models)s, %(nodes)s) as models,
        %(how)s = 'failed' as failing, %(how)s = 'failed early' as early
) as wanted
cross join lateral (
    select case when i <= models then 'success' else 'pass' end as passed
) as good
"""

LARGE = """
insert into ledger.event (run, at, kind, data)
select %(run)s, at, kind, data
from (
    select 0 as place, run.asked_at as at, 'state' as kind,
        jsonb_build_object('state', 'Queued', 'detail', '') as data
    from ledger.run where id = %(run)s
    union all
    select 1, run.asked_at + interval '1 second', 'plan', jsonb_build_object(
        'names', (select jsonb_agg(name order by i) from large_node),
        'warnings', '[]'::jsonb, 'notes', '[]'::jsonb, 'hooks', 0,
        'counted', (select count(*) from large_node),
        'nodes', (
            select jsonb_agg(jsonb_build_object(
                'node', node, 'name', name, 'type', type, 'materialized', materialized,
                'relation', case when type = 'model' then 'analytics.' || name else '' end,
                'writes', jsonb_build_array('analytics.' || name), 'reads', depends_on,
                'depends_on', depends_on, 'fqn', 'bench.' || name,
                'path', 'models/' || name || '.sql', 'why', 'selected'
            ) order by i) from large_node
        )
    ) from ledger.run where id = %(run)s
    union all
    select 2, run.asked_at + interval '2 seconds', 'state',
        jsonb_build_object('state', 'Running', 'detail', '') from ledger.run where id = %(run)s
    union all
    select 3 + 2 * i, run.asked_at + interval '3 seconds' + after * interval '1 second',
        'node_started', jsonb_build_object('node', node, 'name', name,
            'compiled', 'target/compiled/bench/models/' || name || '.sql')
    from ledger.run, large_node where id = %(run)s and status <> 'skipped' and i <= %(until)s
    union all
    select 4 + 2 * i, run.asked_at + interval '3 seconds' + (after + seconds) * interval '1 second',
        'node_finished', jsonb_build_object('node', node, 'name', name, 'type', type,
            'status', status, 'seconds', seconds, 'materialized', materialized)
    from ledger.run, large_node where id = %(run)s and i <= %(finished)s
    union all
    select 1000000,
        run.asked_at + interval '5 seconds'
            + (select max(after + seconds) from large_node) * interval '1 second',
        'state', case when exists (select from large_node where status in ('error', 'fail'))
            then jsonb_build_object('state', 'Error', 'detail', 'Nodes failed.')
            else jsonb_build_object('state', 'Success', 'detail', '') end
    from ledger.run where id = %(run)s and %(finished)s >= (select count(*) from large_node)
) as written
order by place
"""

LARGE_RESULTS = """
insert into ledger.node_result (
    run, node, at, name, type, status, seconds, rows, message, because, relation, materialized,
    sqlstate, signature
)
select
    id, node, asked_at + interval '3 seconds' + (after + seconds) * interval '1 second', name, type,
    status, case when status = 'skipped' then 0 else seconds end,
    case when type = 'model' and status = 'success' then i * 7 end,
    case when status in ('error', 'fail') then 'column orders.discount_codes does not exist'
        when status = 'skipped' then 'Skipped' else 'SELECT' end,
    case when status = 'skipped' then because else '' end,
    case when type = 'model' then 'analytics.' || name else '' end, materialized,
    case when status = 'error' then '42703' else '' end,
    case when status in ('error', 'fail') then md5('column') else '' end
from ledger.run, large_node where id = %(run)s and i <= %(finished)s
"""


@dataclass(frozen=True)
class PageLedger:
    """The runs that were written and are looked at. The first four are of the most nodes."""

    failed_early: str
    """The newest run that is over: all but a few of its nodes are skipped."""
    failed: str
    """The daily build before it: three nodes failed, some are skipped."""
    green: str
    """The daily build before that, which passed."""
    going_on: str
    """A run whose nodes are two thirds done."""
    small: str


def fill(
    url: str,
    commit: str = "",
    runs: int = 100_000,
    models: int = 5_000,
    nodes: int = 15_000,
    dailies: int = 15,
) -> PageLedger:
    """Fills an empty ledger; takes about two minutes for a hundred thousand runs.

    `url` is that of the ledger's owner, `commit` the SHA of the daily builds and of the newest run.
    The last `dailies` daily builds, three at least, have all models as nodes.
    """
    first = (datetime.now(UTC) - LAST_AGO - STEP * runs).replace(microsecond=0)
    values = {"runs": runs, "models": models, "first": first, "step": STEP, "commit": commit}
    with psycopg.connect(url) as connection:
        connection.execute(f"alter table ledger.event disable trigger {NOTIFYING}".encode())
        connection.execute(RUNS.encode(), values)
        found = connection.execute(
            "select id from ledger.run where morning is not null order by asked_at desc limit %s",
            [dailies],
        ).fetchall()
        large = [str(row[0]) for row in found]
        [newest] = connection.execute(
            "select id from ledger.run order by asked_at desc limit 1"
        ).fetchone() or [""]
        many = values | {"large": [*large, newest]}
        connection.execute(SMALL.encode(), many)
        connection.execute(SMALL_RESULTS.encode(), many)
        hows = ("failed early", "failed", "")
        for place, run in enumerate(large):
            size = nodes if place < len(hows) else min(models, nodes)
            _fill_large(connection, run, models, size, size, hows[min(place, len(hows) - 1)])
        _fill_large(connection, newest, models, nodes, nodes * 2 // 3, "failed")
        [small] = connection.execute(
            "select id from ledger.run where id <> all(%s) order by asked_at desc limit 1",
            [[*large, newest]],
        ).fetchone() or [""]
        connection.execute(f"alter table ledger.event enable trigger {NOTIFYING}".encode())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze ledger.run, ledger.event, ledger.node_result")
    failed_early, failed, green = large[:3]
    return PageLedger(failed_early, failed, green, str(newest), str(small))


def _fill_large(
    connection: psycopg.Connection[tuple[object, ...]],
    run: str,
    models: int,
    nodes: int,
    finished: int,
    how: str,
) -> None:
    with connection.transaction():
        connection.execute("drop table if exists large_node")
        values = {"run": run, "models": models, "nodes": nodes, "finished": finished, "how": how}
        connection.execute(NODES.encode(), values)
        values["until"] = nodes if finished == nodes else finished + 8
        connection.execute(LARGE.encode(), values)
        connection.execute(LARGE_RESULTS.encode(), values)
