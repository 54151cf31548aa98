"""Values and their codecs: request, plan, run, commit, daily build; no database, no process."""
