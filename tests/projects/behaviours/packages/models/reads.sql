select *, {{ greet() }} as own_greeting, {{ overridden() }} as own_word from {{ ref('lib', 'sized') }}
