"""What the tasks of run.py compute."""
