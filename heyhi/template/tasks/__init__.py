"""The tasks of run.py."""
