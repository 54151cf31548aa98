select '{{ shared.word() }}' as word, {{ shared.days() }} as days
