"""Work on finished caches: verify, repair, compact, merge, compare; nothing here reads labels or builds new clips."""
