"""Full refreshes that no reader notices: the part of them that speaks to dbt."""
