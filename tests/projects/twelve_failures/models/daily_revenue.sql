select sum(id) as revenue from {{ ref("missing_column") }}
