"""Caches somewhere else: URLs, push, pull, streaming. Nothing here decodes videos."""
