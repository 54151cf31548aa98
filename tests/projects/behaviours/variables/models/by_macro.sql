select * from {{ ref(by_name()) }}
