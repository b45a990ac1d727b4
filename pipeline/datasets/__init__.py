"""Data sets as people have them, read into labelled segments: AIHub, tables, class folders, zips. No decoding here."""
