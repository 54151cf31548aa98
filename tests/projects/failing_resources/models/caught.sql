-- Its own statement is right; the macro gives up after an error that the server does not have.
select {% if execute %}{{ exceptions.raise_compiler_error("nothing of the server's") }}{% endif %} 1 as id
