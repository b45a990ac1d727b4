"""The bytes of a cache, as docs/cache-format.md has them: layout, codecs, shards, index; no locks, no networks."""
