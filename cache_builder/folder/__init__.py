"""A cache's folder on this machine while it changes: lock, staging, commit, room, and records that do not travel."""
