#!/usr/bin/env bash
# How strong the agents are: the figures of tasks/data/README.md. About nine minutes on one core.
#
# One against six, the powers in turn: game i has seed i, and agent_one plays power i % 7. The square score of each
# run is in its result.json, with its standard error; equal play is 1/7 = 0.143. As a table:
#
#     python -m tasks.show_scores "$HH_EXP_DIR/p/c01_ag_cmp/cmp"        (default: ~/results/diplomacy/p/...)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cmp=(-c conf/c01_ag_cmp/cmp.prototxt power_one=NULL)

# The committed model, which is what agents/base_strategy_model plays: the figure for 30 fixed seeds, and 180 more.
python run.py "${cmp[@]}" num_games=30 Iagent_one=agents/base_strategy_model Iagent_six=agents/random
python run.py "${cmp[@]}" seed=30 num_games=180 Iagent_one=agents/base_strategy_model Iagent_six=agents/random
python run.py "${cmp[@]}" num_games=210 Iagent_one=agents/base_strategy_model Iagent_six=agents/greedy

# Search, against six of what it searches with, and against six models, as cmp.prototxt has it.
python run.py "${cmp[@]}" num_games=105 Iagent_one=agents/searchbot Iagent_six=agents/greedy
python run.py "${cmp[@]}" num_games=105 Iagent_one=agents/searchbot Iagent_six=agents/base_strategy_model

# For comparison: greedy itself against six random, against six of its kind (1/7 but for chance), and without errors.
python run.py "${cmp[@]}" num_games=210 Iagent_one=agents/greedy Iagent_six=agents/random
python run.py "${cmp[@]}" num_games=210 Iagent_one=agents/greedy Iagent_six=agents/greedy
python run.py "${cmp[@]}" num_games=210 Iagent_one=agents/greedy Iagent_six=agents/greedy agent_one.greedy.epsilon=0
