"""Building and updating a cache: plan, shards, local and cluster workers. Changes to a finished cache are in `edit`."""
