select count(*) as found from {{ ref('failing') }}
