select '{{ var("day").strftime("%d.%m.%Y") }}' as day
