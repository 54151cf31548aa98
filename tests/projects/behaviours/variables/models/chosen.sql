select * from {{ ref(which()) }}
