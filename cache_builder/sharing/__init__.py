"""Caches that travel: push, pull, streaming, a team's shelf, and building on a cluster."""
