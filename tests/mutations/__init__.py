"""Damages files of all kinds at random and looks what becomes of them: `python -m tests.mutations`."""
