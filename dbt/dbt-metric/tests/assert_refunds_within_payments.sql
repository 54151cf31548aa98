-- Nobody gets back more than was paid.
select
    order_id,
    paid_amount,
    refunded_amount
from {{ ref('int_order_totals') }}
where refunded_amount > paid_amount
