"""Building a cache and bringing it up to date: plan, shards, workers; changes to finished clips are in `edit`."""
