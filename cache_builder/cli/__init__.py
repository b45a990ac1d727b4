"""The commands that build, change, share and look at caches; they parse, call one function and print."""
