select grown.id from {{ ref('grown') }} as grown, {{ ref('worded') }} as worded
