"""The bytes of a cache, as docs/cache-format.md has them: layout, codecs, shards, index. No locks, no networks."""
