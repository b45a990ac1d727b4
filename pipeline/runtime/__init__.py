"""The machine, for all floors: files written whole, progress, text, processes, checks. Nothing about signs here."""
