select d.id from {{ ref('daily') }} as d join {{ ref('weekly') }} as w using (id)
