"""Caches in other places: URLs, push, pull and streaming; nothing here decodes videos or builds clips."""
