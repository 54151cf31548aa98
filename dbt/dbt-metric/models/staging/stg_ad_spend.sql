-- The ad platforms correct some days by sending them again; the row loaded last is right.
select distinct on (spend_date, channel, campaign)
    concat_ws('/', spend_date, channel, campaign) as ad_spend_key,
    spend_date,
    channel as marketing_channel,
    campaign,
    impressions,
    clicks,
    cost,
    loaded_at
from {{ source('marketing', 'ad_spend') }}
order by spend_date, channel, campaign, loaded_at desc
