select
    '{{ var("at", "-") }}' as at,
    $v${{ var("days", "-") }}$v$ as days,
    $v${{ var("opt", "-") }}$v$ as opt
