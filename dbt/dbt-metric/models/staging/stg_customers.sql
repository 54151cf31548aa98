select
    customer_id,
    lower(trim(email)) as email,
    first_name,
    last_name,
    country_code,
    coalesce(signup_channel, 'unknown') as signup_channel,
    -- no answer counts as a no
    coalesce(marketing_opt_in, false) as accepts_marketing,
    created_at,
    updated_at
from {{ source('shop', 'customers') }}
