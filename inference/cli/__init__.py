"""The commands that answer, measure and export; they parse, call one function and print."""
