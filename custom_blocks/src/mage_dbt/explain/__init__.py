"""Why a run failed: causes, what changed, what waits, what was seen before."""
