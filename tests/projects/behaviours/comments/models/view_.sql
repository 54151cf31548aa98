select * from {{ ref('table_') }}
