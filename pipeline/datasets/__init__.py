"""Data sets as people have them, in folders, tables and zips, read into labelled segments. No video is decoded here.

`synthetic` makes one, for trials and tests.
"""
