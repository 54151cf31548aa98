-- The line in which runs wait for the relations they write and read. It is the runners' working
-- state, not history: a row is there while a runner carries the run, and goes with its end.

do $$
begin
    -- Asked first: `if not exists` needs the right to create even when it exists.
    if to_regnamespace('line') is null then
        create schema line;
    end if;
end
$$;

create sequence line.ticket;

create table line.place (
    run text primary key,
    number integer not null unique generated always as identity (cycle),
    runner integer not null,
    home text not null,
    ticket bigint unique,
    writes text[] not null default '{}',
    reads text[] not null default '{}',
    title text not null default '',
    cause text not null default '',
    caller text not null default '',
    began_at timestamptz
);

comment on column line.place.number is
    'Names the advisory lock that is held as long as the run''s worker, or its runner, lives.';
comment on column line.place.runner is
    'Names the advisory lock that is held as long as the runner lives.';
comment on column line.place.home is
    'The machine and the folder of the runner: one that starts there knows the others are dead.';
comment on column line.place.ticket is
    'The order of asking; null until the run is planned.';
comment on column line.place.began_at is
    'When the run got its turn; null while it waits.';

-- A run ends once, even when the connection broke before the runner learned that it had been
-- written down. Rows from before this migration are left as they are.
do $$
begin
    execute format(
        'create unique index event_one_end on ledger.event (run) where kind = ''state'''
        ' and data ->> ''state'' in (''Success'', ''Error'', ''Cancelled'') and seq > %s',
        (select coalesce(max(seq), 0) from ledger.event)
    );
end
$$;
