"""The project's tasks: Diplomacy research in miniature. Imported only inside a job.

play_games ─▶ games.jsonl.gz ─▶ train ─▶ model.json ─▶ compare_agents ─▶ square scores

play_games | train | compare_agents     one task each: cfg -> dict of results
agents                                  who orders what: random, greedy, model, search
play      | dataset | model             a game; games as arrays; a policy on those arrays
features                                a position as numbers
board     | scores | files | checks     the map and legal orders; results; output; bad configs
"""

import os

# One thread a process: a batch fills the cores with runs, and on any number of cores the sums of a
# matrix product are taken in one order, so that a training is the same bit for bit. Read by numpy at import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
