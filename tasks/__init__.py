"""The project's tasks: Diplomacy research in miniature. Imported only inside a job.

play_games ─▶ games.jsonl.gz ─▶ train ─▶ model.json ─▶ compare_agents ─▶ square scores

show_scores                            what runs of compare_agents say, as a table
play_games | train | compare_agents    one task each: cfg -> dict of results
agents, searchbot, greedy, agent       who orders what: a model, search, greedy, random
loss, progress, optimizer              what is made small; a training between two epochs; a step
dataset, play                          games as arrays; one game
model, features                        a policy; a position as numbers
board, scores, files, checks           the map and legal orders; who won; output; bad configs
"""

import os

# One thread a process: a batch fills the cores with runs, and on any number of cores the sums of a
# matrix product are taken in one order, so that a training is the same bit for bit. Read by numpy at import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
