comment on column ledger.event.line is
    'The line of the worker''s events file it came from, so that no line is taken twice.';
