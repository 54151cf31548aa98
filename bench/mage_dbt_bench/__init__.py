"""`./scripts/bench`: how long from a request to the model's SQL, for us and for others."""
