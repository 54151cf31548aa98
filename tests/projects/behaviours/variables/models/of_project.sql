select {{ var('of_project') }} as a, {{ var('of_package') }} as b
