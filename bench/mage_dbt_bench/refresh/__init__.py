"""What `./scripts/bench --refresh` measures: a full refresh while people read."""
