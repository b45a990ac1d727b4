"""A cache folder on this machine while it changes: lock, staging, commit, and records that stay on this machine."""
