select count(*) as found from {{ ref('derived').render() }}
