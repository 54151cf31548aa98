select
    recent.id,
    recent.amout
from {{ ref('recent') }} as recent
