select year, count(*) as n from {{ ref('filled') }} group by year
