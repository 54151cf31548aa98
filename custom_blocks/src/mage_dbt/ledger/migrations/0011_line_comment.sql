-- The catalog tells of every line that an event may have.

comment on column ledger.event.line is
    'The line of the worker''s events file it came from, so that no line is taken twice. Below 0: a
    result of a planned node of which dbt reported none; minus the node''s place in the plan.';
