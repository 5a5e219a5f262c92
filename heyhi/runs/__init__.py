"""A run: its folder, its id, its status, and what is decided about it.

argv ─invocation─▶ draft ─▶ folder, its status ─▶ plan ─▶ order

claim, guard, processes: who is at work in a folder; ownership, places: what may be touched;
results, deaths, elsewhere: how a run ended, and where what it made is.
"""
