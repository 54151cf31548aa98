select * from {{ ref('plain' if run_started_at.day % 2 else 'body_only') }}
