"""Operations on finished caches: verify, repair, compact, merge, compare. Building is in `building`."""
