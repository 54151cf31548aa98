-- Demo source data: ninety days (2026-07-03 to 2026-09-30) of Fernhill, an invented
-- online shop for houseplants.
--
-- The file is plain SQL for PostgreSQL 15 or newer and is meant to run once, in one
-- transaction, as the role that owns the warehouse. It creates the schema raw and fills it
-- with about 300,000 rows. All "chance" comes from hashing row numbers, so every run on
-- every server gives exactly the same rows. All times are UTC.

set local jit = off;

create schema if not exists raw;

-- ---------------------------------------------------------------------------------------
-- Helpers and scratch tables; the last section drops them again.
-- ---------------------------------------------------------------------------------------

-- A repeatable stand-in for random(): the same number and label always give the same
-- value between 0 (included) and 1 (excluded). Hash partitioning relies on the same function,
-- so its result stays the same from one PostgreSQL version to the next.
create function raw.roll(n bigint, label text) returns double precision
language sql immutable parallel safe
as $$
    select (hashtextextended(label, n) & 281474976710655)::double precision
        / 281474976710656::double precision
$$;

-- A time of day as shoppers keep it: some traffic over the day, most in the evening,
-- nothing between 23:00 and 08:00.
create function raw.clock(n bigint, label text) returns interval
language sql immutable parallel safe
as $$
    select make_interval(secs => floor(
        case
            when raw.roll(n, label || ' shift') < 0.4
                then 3600 * (8 + 9 * raw.roll(n, label || ' a'))
            else 3600 * (15 + 4 * (raw.roll(n, label || ' a') + raw.roll(n, label || ' b')))
        end
    ))
$$;

-- One row a day with the share of the business that falls on it: busier weekends, steady
-- growth, an end-of-summer sale and a little noise.
create unlogged table raw.scratch_days as
with weighted as (
    select
        n as day_no,
        date '2026-07-03' + n as day,
        (1 + 0.45 * n / 89.0)
        * (array[1.04, 0.93, 0.92, 0.98, 0.90, 1.12, 1.24])[
            extract(isodow from date '2026-07-03' + n)::int
        ]
        * case when date '2026-07-03' + n between '2026-08-27' and '2026-08-30' then 1.45 else 1 end
        * (0.93 + 0.14 * raw.roll(n, 'day noise')) as weight
    from generate_series(0, 89) as n
)
select
    day_no,
    day,
    weight / sum(weight) over () as share,
    0 as customers_before
from weighted;

-- The moment the data was exported. Nothing in the tables is later than this.
create unlogged table raw.scratch_export as
select timestamp '2026-10-01 06:00:00' as exported_at;

-- ---------------------------------------------------------------------------------------
-- Products
-- ---------------------------------------------------------------------------------------

create table raw.products (
    product_id   integer primary key,
    sku          text not null,
    product_name text not null,
    category     text not null,
    unit_price   numeric(10, 2) not null,
    unit_cost    numeric(10, 2),
    is_active    boolean not null,
    launched_on  date not null
);

insert into raw.products
with items (item_no, category, item, base_price) as (
    values
        (1, 'Houseplants', 'Monstera', 16), (2, 'Houseplants', 'Snake plant', 13),
        (3, 'Houseplants', 'Peace lily', 12), (4, 'Houseplants', 'Rubber fig', 17),
        (5, 'Houseplants', 'Spider plant', 8), (6, 'Houseplants', 'Golden pothos', 9),
        (7, 'Houseplants', 'ZZ plant', 15), (8, 'Houseplants', 'Calathea', 18),
        (9, 'Houseplants', 'Boston fern', 11), (10, 'Houseplants', 'String of hearts', 14),
        (11, 'Houseplants', 'Areca palm', 19), (12, 'Houseplants', 'Aloe vera', 8),
        (13, 'Houseplants', 'Chinese money plant', 10), (14, 'Houseplants', 'Philodendron', 16),
        (15, 'Pots', 'Terracotta pot', 6), (16, 'Pots', 'Glazed pot', 12),
        (17, 'Pots', 'Hanging planter', 14), (18, 'Pots', 'Self-watering pot', 17),
        (19, 'Pots', 'Concrete planter', 21), (20, 'Pots', 'Woven basket', 15),
        (21, 'Pots', 'Wooden plant stand', 24), (22, 'Pots', 'Wall planter', 13),
        (23, 'Pots', 'Zinc tub', 18),
        (24, 'Soil and care', 'Potting soil', 5), (25, 'Soil and care', 'Orchid bark', 6),
        (26, 'Soil and care', 'Cactus mix', 5), (27, 'Soil and care', 'Liquid feed', 7),
        (28, 'Soil and care', 'Slow-release pellets', 8), (29, 'Soil and care', 'Leaf shine', 6),
        (30, 'Soil and care', 'Neem spray', 9), (31, 'Soil and care', 'Clay pebbles', 6),
        (32, 'Tools', 'Pruning shears', 15), (33, 'Tools', 'Watering can', 14),
        (34, 'Tools', 'Mister bottle', 8), (35, 'Tools', 'Moisture meter', 11),
        (36, 'Tools', 'Hand trowel', 9),
        (37, 'Gift sets', 'Starter set', 26), (38, 'Gift sets', 'Windowsill herb kit', 19),
        (39, 'Gift sets', 'Terrarium kit', 32), (40, 'Gift sets', 'Succulent trio', 17)
),

variants as (
    select
        items.*,
        size_no,
        -- low numbers are the best sellers, so the order has to look arbitrary
        row_number() over (order by raw.roll(item_no * 10 + size_no, 'popularity')) as product_id,
        round(base_price * (array[1, 1.6, 2.5])[size_no]) - 0.10 as unit_price
    from items
    cross join generate_series(1, 3) as size_no
)

select
    product_id,
    upper(left(category, 2)) || '-' || lpad(item_no::text, 2, '0') || '-' || (array['S', 'M', 'L'])[size_no],
    item || ', ' || (array['small', 'medium', 'large'])[size_no],
    category,
    unit_price,
    -- two suppliers have not sent their price list yet
    case when item_no not in (22, 39)
        then round((unit_price * (0.36 + 0.22 * raw.roll(product_id, 'cost')))::numeric, 2)
    end,
    item_no <> 29,
    date '2024-02-01' + floor(850 * raw.roll(product_id, 'launch'))::int
from variants
order by product_id;

-- ---------------------------------------------------------------------------------------
-- Customers: a base from the year before, and new ones on every day of the window
-- ---------------------------------------------------------------------------------------

create table raw.customers (
    customer_id      integer primary key,
    email            text not null,
    first_name       text,
    last_name        text,
    country_code     text not null,
    signup_channel   text,
    marketing_opt_in boolean,
    created_at       timestamp not null,
    updated_at       timestamp not null
);

insert into raw.customers
with signups as (
    select date_trunc('second',
        timestamp '2026-07-02 23:00:00' - interval '365 days' * (raw.roll(n, 'base age') ^ 1.3)
    ) as created_at
    from generate_series(1, 4000) as n

    union all

    select days.day + raw.clock(days.day_no * 1000 + n, 'signup')
    from raw.scratch_days as days
    cross join lateral generate_series(1, round(5200 * days.share)::int) as n
),

numbered as (
    select
        (row_number() over (order by created_at))::int as id,
        created_at
    from signups
),

rolled as (
    select
        id,
        created_at,
        (array[
            'Anna', 'Jonas', 'Lea', 'Maximilian', 'Clara', 'Felix', 'Sophie', 'Lukas', 'Emma', 'Daan',
            'Julia', 'Pierre', 'Camille', 'Mathis', 'Freya', 'Lars', 'Zofia', 'Marek', 'Giulia', 'Niamh'
        ])[1 + floor(20 * raw.roll(id, 'first name'))::int] as first_name,
        (array[
            'Berger', 'Hofmann', 'Visser', 'Dubois', 'Nilsson', 'Jansen', 'Keller', 'Moreau', 'Kowalski',
            'Peeters', 'Schuster', 'Lindqvist', 'Rossi', 'Brandt', 'Maes', 'Winkler', 'Byrne', 'Holm',
            'Lehmann', 'Garnier', 'Bakker', 'Pohl', 'Olsen'
        ])[1 + floor(23 * raw.roll(id, 'last name'))::int] as last_name,
        raw.roll(id, 'country') as country,
        raw.roll(id, 'signup channel') as channel,
        raw.roll(id, 'opt in') as opt_in,
        raw.roll(id, 'profile edit') as edit
    from numbered
)

select
    id,
    -- one in forty typed the address in capitals
    case when raw.roll(id, 'capitals') < 0.025
        then upper(first_name || '.' || last_name) || id || '@EXAMPLE.COM'
        else lower(first_name || '.' || last_name) || id || '@example.com'
    end,
    case when raw.roll(id, 'nameless') >= 0.03 then first_name end,
    case when raw.roll(id, 'nameless') >= 0.03 then last_name end,
    case
        when country < 0.38 then 'DE' when country < 0.52 then 'NL' when country < 0.65 then 'FR'
        when country < 0.74 then 'AT' when country < 0.81 then 'BE' when country < 0.865 then 'SE'
        when country < 0.915 then 'DK' when country < 0.95 then 'PL' when country < 0.98 then 'IT'
        else 'IE'
    end,
    case
        when channel < 0.05 then null
        when channel < 0.36 then 'organic_search' when channel < 0.58 then 'paid_search'
        when channel < 0.74 then 'direct' when channel < 0.89 then 'paid_social'
        when channel < 0.95 then 'referral' else 'affiliate'
    end,
    case when opt_in < 0.06 then null else opt_in < 0.55 end,
    created_at,
    -- about a fifth edited their profile at some point after signing up
    case when edit < 0.2
        then date_trunc('second',
            created_at + (timestamp '2026-09-30 22:00:00' - created_at) * greatest(edit * 5, 0.001))
        else created_at
    end
from rolled
order by id;

update raw.scratch_days
set customers_before = (
    select count(*) from raw.customers where customers.created_at < scratch_days.day
);

-- ---------------------------------------------------------------------------------------
-- Orders, first as a scratch table with every date an order will ever have
-- ---------------------------------------------------------------------------------------

create unlogged table raw.scratch_orders as
with placed as (
    -- most new customers sign up while buying something
    select
        customer_id,
        true as is_first,
        created_at - make_interval(secs => 120 + floor(900 * raw.roll(customer_id, 'browse'))) as session_started_at,
        created_at + make_interval(secs => 240 + floor(1500 * raw.roll(customer_id, 'decide'))) as ordered_at
    from raw.customers
    where
        created_at >= timestamp '2026-07-03'
        and raw.roll(customer_id, 'buys at once') < 0.6

    union all

    -- Repeat orders: the newer a customer, the likelier the next order, which gives cohorts
    -- that fade. Of two candidates the more loyal one buys, which gives a few regulars.
    select
        case when raw.roll(one, 'loyalty') > raw.roll(two, 'loyalty') then one else two end,
        false,
        ordered_at - make_interval(secs => 300 + floor(2400 * raw.roll(key, 'browse again'))),
        ordered_at
    from (
        select
            days.day_no * 1000 + n as key,
            days.day + raw.clock(days.day_no * 1000 + n, 'order') as ordered_at,
            days.customers_before
            - floor(days.customers_before * raw.roll(days.day_no * 1000 + n, 'one') ^ 1.7)::int as one,
            days.customers_before
            - floor(days.customers_before * raw.roll(days.day_no * 1000 + n, 'two') ^ 1.7)::int as two
        from raw.scratch_days as days
        cross join lateral generate_series(1, round(4900 * days.share)::int) as n
    ) as repeats
),

numbered as (
    select
        placed.*,
        100000 + (row_number() over (order by ordered_at, customer_id))::int as order_id
    from placed
),

rolled as (
    select
        numbered.*,
        customers.country_code,
        raw.roll(order_id, 'sold through') as sold_through,
        raw.roll(order_id, 'fate') as fate,
        raw.roll(order_id, 'method') as method
    from numbered
    inner join raw.customers using (customer_id)
),

described as (
    select
        order_id,
        customer_id,
        is_first,
        country_code,
        session_started_at,
        ordered_at,
        case
            when sold_through < 0.09 then 'marketplace'
            when sold_through < 0.31 then 'app'
            else 'web'
        end as sales_channel,
        case
            when fate < 0.022 then 'never_paid'
            when fate < 0.043 then 'cancelled'
            when fate < 0.088 then 'returned'
            else 'kept'
        end as fate,
        case
            when method < 0.52 then 'card'
            when method < 0.76 then 'paypal'
            when method < 0.90 then 'invoice'
            else 'bank_transfer'
        end as method,
        case
            when is_first and raw.roll(order_id, 'code') < 0.25 then 'WELCOME5'
            when ordered_at::date between '2026-08-27' and '2026-08-30' and raw.roll(order_id, 'code') < 0.6
                then 'SUMMER20'
            when raw.roll(order_id, 'code') > 0.93 then 'CLUB10'
        end as discount_code
    from rolled
),

paid as (
    select
        *,
        ordered_at + case
            when method = 'bank_transfer'
                then make_interval(secs => 50000 + floor(180000 * raw.roll(order_id, 'pays after')))
            else make_interval(secs => 20 + floor(160 * raw.roll(order_id, 'pays after')))
        end as paid_at
    from described
),

shipped as (
    select
        *,
        paid_at + make_interval(secs => 18000 + floor(120000 * raw.roll(order_id, 'ships after'))) as shipped_at
    from paid
),

delivered as (
    select
        *,
        shipped_at + make_interval(secs => 70000 + floor(260000 * raw.roll(order_id, 'travels'))) as delivered_at
    from shipped
)

select
    *,
    case fate
        when 'never_paid'
            then ordered_at + make_interval(secs => 86400 + floor(40000 * raw.roll(order_id, 'gives up')))
        when 'cancelled'
            then paid_at + make_interval(secs => 600 + floor(15000 * raw.roll(order_id, 'gives up')))
    end as cancelled_at,
    case when fate = 'returned'
        then delivered_at + make_interval(secs => 200000 + floor(1000000 * raw.roll(order_id, 'sends back')))
    end as returned_at
from delivered;

create table raw.order_items (
    order_item_id integer primary key,
    order_id      integer not null,
    line_number   integer not null,
    product_id    integer not null,
    quantity      integer not null,
    unit_price    numeric(10, 2) not null
);

insert into raw.order_items
with lines as (
    select
        orders.order_id,
        orders.ordered_at,
        line,
        orders.order_id * 10::bigint + line as key
    from raw.scratch_orders as orders
    cross join lateral generate_series(
        1, 1 + floor(5 * raw.roll(orders.order_id, 'lines') ^ 1.8)::int
    ) as line
),

picked as (
    select
        lines.*,
        1 + floor(120 * raw.roll(key, 'product') ^ 1.6)::int as product_id
    from lines
)

select
    (row_number() over (order by picked.order_id, picked.line))::int,
    picked.order_id,
    picked.line,
    picked.product_id,
    case
        when raw.roll(picked.key, 'quantity') < 0.80 then 1
        when raw.roll(picked.key, 'quantity') < 0.95 then 2
        else 3
    end,
    -- pots went up in price on 1 September; older orders keep the price of their day
    case when products.category = 'Pots' and picked.ordered_at < timestamp '2026-09-01'
        then round(products.unit_price * 0.95, 2)
        else products.unit_price
    end
from picked
inner join raw.products as products using (product_id)
order by 1;

create unlogged table raw.scratch_amounts as
with subtotals as (
    select
        order_id,
        sum(quantity * unit_price) as subtotal
    from raw.order_items
    group by order_id
),

charged as (
    select
        subtotals.order_id,
        subtotals.subtotal,
        round(subtotals.subtotal * case orders.discount_code
            when 'WELCOME5' then 0.05
            when 'CLUB10' then 0.10
            when 'SUMMER20' then 0.20
            else 0
        end, 2) as discount,
        case when subtotals.subtotal < 60 then 4.90 else 0 end as shipping
    from subtotals
    inner join raw.scratch_orders as orders using (order_id)
)

select
    *,
    subtotal - discount + shipping as total
from charged;

-- ---------------------------------------------------------------------------------------
-- Payments and refunds, as far as they had happened when the data was exported
-- ---------------------------------------------------------------------------------------

create table raw.payments (
    payment_id     integer primary key,
    order_id       integer not null,
    payment_method text not null,
    status         text not null,
    amount         numeric(10, 2) not null,
    created_at     timestamp not null
);

insert into raw.payments
with attempts as (
    -- a declined first attempt: always for orders never paid, now and then for the others
    select
        orders.order_id,
        orders.method,
        'failed' as status,
        orders.ordered_at + interval '9 seconds' as created_at
    from raw.scratch_orders as orders
    where
        orders.fate = 'never_paid'
        or (orders.method in ('card', 'paypal') and raw.roll(orders.order_id, 'declined') < 0.06)

    union all

    -- the attempt that worked, or that is still under way
    select
        orders.order_id,
        orders.method,
        case when orders.paid_at <= export.exported_at then 'succeeded' else 'pending' end,
        case when orders.paid_at <= export.exported_at then orders.paid_at else orders.ordered_at end
    from raw.scratch_orders as orders
    cross join raw.scratch_export as export
    where orders.fate <> 'never_paid'
)

select
    (row_number() over (order by attempts.created_at, attempts.order_id))::int,
    attempts.order_id,
    attempts.method,
    attempts.status,
    amounts.total,
    attempts.created_at
from attempts
inner join raw.scratch_amounts as amounts using (order_id)
order by 1;

create table raw.refunds (
    refund_id   integer primary key,
    order_id    integer not null,
    payment_id  integer not null,
    amount      numeric(10, 2) not null,
    reason      text,
    refunded_at timestamp not null
);

insert into raw.refunds
with due as (
    select
        orders.order_id,
        orders.fate,
        coalesce(orders.cancelled_at, orders.returned_at)
        + make_interval(secs => 3600 + floor(150000 * raw.roll(orders.order_id, 'refund delay'))) as refunded_at,
        raw.roll(orders.order_id, 'refund share') as share,
        raw.roll(orders.order_id, 'refund reason') as reason,
        amounts.subtotal - amounts.discount as goods,
        amounts.total
    from raw.scratch_orders as orders
    inner join raw.scratch_amounts as amounts using (order_id)
    where orders.fate in ('cancelled', 'returned')
)

select
    (row_number() over (order by due.refunded_at, due.order_id))::int,
    due.order_id,
    payments.payment_id,
    -- cancelled orders get everything back, returns the goods or a part of them
    case
        when due.fate = 'cancelled' then due.total
        when due.share < 0.6 then due.goods
        else round((due.goods * (0.2 + 0.6 * due.share))::numeric, 2)
    end,
    case
        when due.fate = 'cancelled' then 'cancelled_by_customer'
        when due.reason < 0.08 then null
        when due.reason < 0.42 then 'damaged_in_transit'
        when due.reason < 0.70 then 'changed_mind'
        when due.reason < 0.88 then 'plant_unwell'
        else 'wrong_item'
    end,
    due.refunded_at
from due
cross join raw.scratch_export as export
inner join raw.payments as payments
    on due.order_id = payments.order_id and payments.status = 'succeeded'
where due.refunded_at <= export.exported_at
order by 1;

-- ---------------------------------------------------------------------------------------
-- Website and app visits: one for every order not sold through the marketplace and for every
-- other signup, and many that end without either
-- ---------------------------------------------------------------------------------------

create unlogged table raw.scratch_sessions as
with visits as (
    select
        order_id::bigint as key,
        order_id,
        customer_id,
        country_code,
        session_started_at as started_at,
        ordered_at,
        sales_channel = 'app' as in_app
    from raw.scratch_orders
    where sales_channel <> 'marketplace'

    union all

    -- new customers who signed up and left it at that
    select
        900000 + customer_id,
        null,
        customer_id,
        country_code,
        created_at - make_interval(secs => 90 + floor(600 * raw.roll(customer_id, 'browse'))),
        null,
        raw.roll(customer_id, 'signed up in app') < 0.2
    from raw.customers
    where
        created_at >= timestamp '2026-07-03'
        and raw.roll(customer_id, 'buys at once') >= 0.6

    union all

    select
        others.key,
        null,
        customers.customer_id,
        customers.country_code,
        others.day + raw.clock(others.key, 'visit'),
        null,
        raw.roll(others.key, 'in app') < 0.14
    from (
        select
            1000000 + days.day_no * 10000 + n as key,
            days.day,
            -- three in ten visitors are signed in
            case when raw.roll(days.day_no * 10000 + n, 'known') < 0.3
                then days.customers_before
                    - floor(days.customers_before * raw.roll(days.day_no * 10000 + n, 'who') ^ 1.4)::int
            end as customer_id
        from raw.scratch_days as days
        cross join lateral generate_series(1, round(131000 * days.share)::int) as n
    ) as others
    left join raw.customers as customers using (customer_id)
),

-- materialized, or each use of a roll would compute it again
rolled as materialized (
    select
        visits.*,
        raw.roll(key, 'channel') as channel_roll,
        raw.roll(key, 'campaign') as campaign_roll,
        raw.roll(key, 'device') as device_roll,
        raw.roll(key, 'depth') as depth
    from visits
),

channelled as materialized (
    select
        rolled.*,
        case
            when channel_roll < 0.02 then null
            -- people who know the shop come straight to it, by newsletter or by search
            when customer_id is not null then case
                when channel_roll < 0.27 then 'direct' when channel_roll < 0.47 then 'email'
                when channel_roll < 0.70 then 'organic_search' when channel_roll < 0.88 then 'paid_search'
                when channel_roll < 0.96 then 'paid_social' when channel_roll < 0.98 then 'affiliate'
                else 'referral'
            end
            when channel_roll < 0.14 then 'direct' when channel_roll < 0.46 then 'organic_search'
            when channel_roll < 0.68 then 'paid_search' when channel_roll < 0.88 then 'paid_social'
            when channel_roll < 0.93 then 'affiliate' else 'referral'
        end as channel
    from rolled
)

select
    (row_number() over (order by started_at, key))::int as session_id,
    key,
    order_id,
    customer_id,
    started_at,
    -- a visit with an order ends just after it, one with a signup not before it
    coalesce(
        ordered_at + interval '75 seconds',
        started_at + make_interval(secs =>
            case when key between 900001 and 999999 then 900 else 8 end + floor(900 * depth ^ 3))
    ) as ended_at,
    case
        when in_app then 'app'
        when device_roll < 0.52 then 'mobile'
        when device_roll < 0.94 then 'desktop'
        else 'tablet'
    end as device_type,
    -- the country of an anonymous visit is a guess from its address, which sometimes fails
    case
        when country_code is not null then country_code
        when device_roll * 100 - floor(device_roll * 100) < 0.03 then null
        else (array['DE', 'DE', 'DE', 'DE', 'NL', 'NL', 'FR', 'FR', 'AT', 'BE', 'SE', 'DK', 'PL', 'IT', 'IE'])[
            1 + floor(15 * raw.roll(key, 'visit country'))::int
        ]
    end as country_code,
    channel,
    case channel
        when 'paid_search' then case
            when campaign_roll < 0.35 then 'brand_terms'
            when campaign_roll < 0.75 then 'plants_generic'
            else 'pots_shopping'
        end
        when 'paid_social' then case
            when campaign_roll < 0.45 then 'care_tips_video'
            when campaign_roll < 0.70 then 'visited_before'
            when started_at < timestamp '2026-09-01' then 'summer_balcony'
            else 'autumn_indoors'
        end
        when 'affiliate' then 'plant_blogs'
        when 'email' then case when campaign_roll < 0.8 then 'newsletter' else 'club_reminder' end
    end as campaign,
    case when order_id is not null then 4 else 1 end + floor(9 * depth ^ 2)::int as page_views,
    -- how far towards an order the visit got; 4 is the order itself
    case
        when order_id is not null then 4
        when depth < 0.55 then 0
        when depth < 0.91 then 1
        when depth < 0.97 then 2
        else 3
    end as steps
from channelled;

create table raw.web_sessions (
    session_id   integer primary key,
    visitor_id   text not null,
    customer_id  integer,
    started_at   timestamp not null,
    ended_at     timestamp not null,
    device_type  text not null,
    country_code text,
    channel      text,
    campaign     text,
    page_views   integer not null,
    loaded_at    timestamp not null
);

insert into raw.web_sessions
select
    sessions.session_id,
    case when sessions.customer_id is not null
        then 'v' || to_hex(hashtextextended('customer', sessions.customer_id))
        else 'v' || to_hex(hashtextextended('visitor', floor(70000 * raw.roll(sessions.key, 'visitor'))::bigint))
    end,
    sessions.customer_id,
    sessions.started_at,
    sessions.ended_at,
    sessions.device_type,
    sessions.country_code,
    sessions.channel,
    sessions.campaign,
    sessions.page_views,
    -- loaded within the hour, but phones that were offline report up to three days late
    least(
        export.exported_at,
        sessions.ended_at + make_interval(secs =>
            300 + floor(3000 * raw.roll(sessions.key, 'load'))
            + case when raw.roll(sessions.key, 'late') < 0.015
                then 86400 + floor(172800 * raw.roll(sessions.key, 'load'))
                else 0
            end
        )
    )
from raw.scratch_sessions as sessions
cross join raw.scratch_export as export
order by sessions.session_id;

create table raw.web_events (
    event_id    integer primary key,
    session_id  integer not null,
    event_name  text not null,
    product_id  integer,
    occurred_at timestamp not null,
    received_at timestamp not null
);

insert into raw.web_events
with happened as (
    select
        sessions.session_id,
        sessions.key,
        step,
        (array['product_view', 'add_to_cart', 'begin_checkout', 'purchase'])[step] as event_name,
        -- spread over the visit, to the second
        case when step = 4
            then sessions.ended_at - interval '75 seconds'
            else date_trunc('second', sessions.started_at
                + (sessions.ended_at - sessions.started_at)
                * (step * 0.2 + 0.15 * raw.roll(sessions.key, 'pace')))
        end as occurred_at
    from raw.scratch_sessions as sessions
    cross join lateral generate_series(1, sessions.steps) as step
)

select
    (row_number() over (order by occurred_at, session_id, step))::int,
    session_id,
    event_name,
    case when step <= 2 then 1 + floor(120 * raw.roll(key, 'viewed product') ^ 1.6)::int end,
    occurred_at,
    occurred_at + make_interval(secs => 1 + floor(40 * raw.roll(key, 'transfer') ^ 3))
from happened
order by 1;

-- ---------------------------------------------------------------------------------------
-- Orders as the shop shows them: the status each had reached at the time of the export
-- ---------------------------------------------------------------------------------------

create table raw.orders (
    order_id        integer primary key,
    customer_id     integer not null,
    session_id      integer,
    sales_channel   text not null,
    status          text not null,
    country_code    text not null,
    discount_code   text,
    discount_amount numeric(10, 2) not null,
    shipping_amount numeric(10, 2) not null,
    ordered_at      timestamp not null,
    updated_at      timestamp not null
);

insert into raw.orders
select
    orders.order_id,
    orders.customer_id,
    sessions.session_id,
    orders.sales_channel,
    reached.status,
    orders.country_code,
    orders.discount_code,
    amounts.discount,
    amounts.shipping,
    orders.ordered_at,
    greatest(reached.since, refunds.refunded_at)
from raw.scratch_orders as orders
cross join raw.scratch_export as export
inner join raw.scratch_amounts as amounts using (order_id)
left join raw.scratch_sessions as sessions using (order_id)
left join raw.refunds as refunds using (order_id)
cross join lateral (
    select
        steps.status,
        steps.since
    from (
        values
            ('placed', orders.ordered_at, true),
            ('paid', orders.paid_at, orders.fate <> 'never_paid'),
            ('shipped', orders.shipped_at, orders.fate in ('kept', 'returned')),
            ('delivered', orders.delivered_at, orders.fate in ('kept', 'returned')),
            ('returned', orders.returned_at, orders.fate = 'returned'),
            ('cancelled', orders.cancelled_at, orders.fate in ('never_paid', 'cancelled'))
    ) as steps (status, since, applies)
    where steps.applies and steps.since <= export.exported_at
    order by steps.since desc
    limit 1
) as reached
order by orders.order_id;

-- ---------------------------------------------------------------------------------------
-- Advertising cost, as the ad platforms report it the next morning
-- ---------------------------------------------------------------------------------------

create table raw.ad_spend (
    spend_date  date not null,
    channel     text not null,
    campaign    text not null,
    impressions integer,
    clicks      integer not null,
    cost        numeric(10, 2) not null,
    loaded_at   timestamp not null
);

insert into raw.ad_spend
with visits as (
    select
        started_at::date as spend_date,
        channel,
        campaign,
        count(*) as visits,
        row_number() over (order by started_at::date, channel, campaign) as key
    from raw.scratch_sessions
    where channel in ('paid_search', 'paid_social', 'affiliate')
    group by 1, 2, 3
),

reported as (
    select
        visits.*,
        -- some clicks never become a visit
        ceil(visits.visits * (1.05 + 0.2 * raw.roll(key, 'lost clicks')))::int as clicks,
        prices.price_per_click * (0.85 + 0.3 * raw.roll(key, 'auction')) as price
    from visits
    inner join (
        values
            ('brand_terms', 0.28), ('plants_generic', 0.83), ('pots_shopping', 0.64),
            ('care_tips_video', 0.57), ('visited_before', 0.71), ('summer_balcony', 0.96),
            ('autumn_indoors', 0.78), ('plant_blogs', 0.35)
    ) as prices (campaign, price_per_click) using (campaign)
)

select
    spend_date,
    channel,
    campaign,
    -- blogs do not count how often a link was shown
    case when channel <> 'affiliate' then (clicks * (22 + floor(30 * raw.roll(key, 'shown'))))::int end,
    clicks,
    round((clicks * price)::numeric, 2),
    spend_date + interval '29 hours 30 minutes'
from reported

union all

-- some days are sent a second time with corrected clicks and cost; the later row counts
select
    spend_date,
    channel,
    campaign,
    (clicks * (22 + floor(30 * raw.roll(key, 'shown'))))::int,
    ceil(clicks * 0.97)::int,
    round((clicks * price * 0.97)::numeric, 2),
    spend_date + interval '53 hours 30 minutes'
from reported
where
    raw.roll(key, 'corrected') < 0.05
    and channel = 'paid_search'
    and spend_date < date '2026-09-29'
order by 7, 2, 3;

-- ---------------------------------------------------------------------------------------
-- The plant club, a monthly box
-- ---------------------------------------------------------------------------------------

create table raw.subscriptions (
    subscription_id integer primary key,
    customer_id     integer not null,
    plan            text not null,
    monthly_price   numeric(10, 2) not null,
    status          text not null,
    started_on      date not null,
    cancelled_on    date,
    updated_at      timestamp not null
);

insert into raw.subscriptions
with joined as (
    select
        customer_id,
        created_at::date + floor(45 * raw.roll(customer_id, 'club delay') ^ 2)::int as started_on,
        raw.roll(customer_id, 'plan') as plan,
        raw.roll(customer_id, 'club state') as state,
        raw.roll(customer_id, 'club months') as months
    from raw.customers
    where raw.roll(customer_id, 'club') < 0.17
),

dated as (
    select
        joined.*,
        case when state < 0.45 then started_on + 28 + floor(220 * months)::int end as leaves_on,
        case when state > 0.94 then started_on + 20 + floor(60 * months)::int end as pauses_on
    from joined
    where started_on <= date '2026-09-30'
)

select
    (row_number() over (order by started_on, customer_id))::int,
    customer_id,
    case when plan < 0.55 then 'seedling' when plan < 0.88 then 'grower' else 'greenhouse' end,
    case when plan < 0.55 then 9.90 when plan < 0.88 then 17.90 else 29.90 end,
    case
        when leaves_on <= date '2026-09-30' then 'cancelled'
        when pauses_on <= date '2026-09-30' then 'paused'
        else 'active'
    end,
    started_on,
    case when leaves_on <= date '2026-09-30' then leaves_on end,
    case
        when leaves_on <= date '2026-09-30' then leaves_on
        when pauses_on <= date '2026-09-30' then pauses_on
        else started_on
    end + time '09:15:00'
from dated
order by 1;

-- ---------------------------------------------------------------------------------------
-- Customer support
-- ---------------------------------------------------------------------------------------

create table raw.support_tickets (
    ticket_id          integer primary key,
    customer_id        integer not null,
    order_id           integer,
    topic              text not null,
    priority           text not null,
    status             text not null,
    opened_at          timestamp not null,
    first_reply_at     timestamp,
    solved_at          timestamp,
    satisfaction_score integer
);

insert into raw.support_tickets
with opened as (
    -- about an order: returns nearly always come with a question, others now and then
    select
        order_id::bigint as key,
        customer_id,
        order_id,
        case when fate = 'returned'
            then delivered_at + make_interval(secs => 3000 + floor(170000 * raw.roll(order_id, 'asks')))
            else ordered_at + make_interval(secs => 7200 + floor(400000 * raw.roll(order_id, 'asks')))
        end as opened_at,
        case
            when fate = 'returned' then 'return'
            when raw.roll(order_id, 'topic') < 0.52 then 'delivery'
            when raw.roll(order_id, 'topic') < 0.83 then 'plant_care'
            else 'payment'
        end as topic
    from raw.scratch_orders
    where raw.roll(order_id, 'needs help') < case when fate = 'returned' then 0.85 else 0.13 end

    union all

    -- about the club
    select
        10000000 + subscription_id,
        customer_id,
        null,
        greatest(started_on, date '2026-07-03')
        + floor(85 * raw.roll(subscription_id, 'club asks'))::int
        + raw.clock(subscription_id, 'club ticket'),
        case when raw.roll(subscription_id, 'club topic') < 0.7 then 'plant_club' else 'plant_care' end
    from raw.subscriptions
    where raw.roll(subscription_id, 'club needs help') < 0.28
),

answered as (
    select
        opened.*,
        opened_at + make_interval(secs => 420 + floor(90000 * raw.roll(key, 'reply') ^ 2.5)) as replied_at
    from opened
    cross join raw.scratch_export as export
    where opened.opened_at < timestamp '2026-10-01 00:00:00'
),

closed as (
    select
        answered.*,
        replied_at + make_interval(secs => 300 + floor(400000 * raw.roll(key, 'solve') ^ 3)) as done_at
    from answered
)

select
    (row_number() over (order by closed.opened_at, closed.key))::int,
    closed.customer_id,
    closed.order_id,
    closed.topic,
    case
        when raw.roll(closed.key, 'priority') < 0.12 then 'high'
        when raw.roll(closed.key, 'priority') < 0.75 then 'normal'
        else 'low'
    end,
    case
        when closed.done_at <= export.exported_at then 'solved'
        when closed.replied_at <= export.exported_at then 'waiting'
        else 'open'
    end,
    closed.opened_at,
    case when closed.replied_at <= export.exported_at then closed.replied_at end,
    case when closed.done_at <= export.exported_at then closed.done_at end,
    -- fewer than half answer the survey; slow replies cost stars
    case when closed.done_at <= export.exported_at and raw.roll(closed.key, 'answers survey') < 0.44
        then greatest(1, 5 - floor(
            2.2 * raw.roll(closed.key, 'mood') ^ 2
            + extract(epoch from closed.replied_at - closed.opened_at)::double precision / 36000
        )::int)
    end
from closed
cross join raw.scratch_export as export
order by 1;

-- ---------------------------------------------------------------------------------------
-- Indexes for the columns a daily load filters on, descriptions, clean-up
-- ---------------------------------------------------------------------------------------

create index on raw.orders (updated_at);
create index on raw.order_items (order_id);
create index on raw.payments (order_id);
create index on raw.refunds (order_id);
create index on raw.web_sessions (loaded_at);
create index on raw.web_events (session_id);

comment on schema raw is 'Source data of Fernhill, an invented online shop for houseplants';
comment on table raw.customers is 'Everybody with an account in the shop';
comment on table raw.products is 'The catalogue';
comment on table raw.orders is 'Orders with the status they had reached at the last load';
comment on table raw.order_items is 'The lines of each order';
comment on table raw.payments is 'Attempts to pay, failed ones included';
comment on table raw.refunds is 'Money given back';
comment on table raw.web_sessions is 'Visits to the website and the app';
comment on table raw.web_events is 'Steps towards an order within a visit';
comment on table raw.ad_spend is 'Daily cost of advertising; corrections are sent as further rows';
comment on table raw.subscriptions is 'Members of the plant club';
comment on table raw.support_tickets is 'Questions to customer support';

drop table raw.scratch_sessions, raw.scratch_amounts, raw.scratch_orders, raw.scratch_export, raw.scratch_days;
drop function raw.clock(bigint, text);
drop function raw.roll(bigint, text);

analyze raw.customers, raw.products, raw.orders, raw.order_items, raw.payments, raw.refunds,
    raw.web_sessions, raw.web_events, raw.ad_spend, raw.subscriptions, raw.support_tickets;
