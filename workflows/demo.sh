#!/usr/bin/env bash
# Diplomacy research in a minute: play games, train two models on them, let the models play.
#
# Every line that starts with `python run.py` is one run, with a folder of its own. HeyHi does not repeat a run that is
# done: call this script twice, and the second call starts nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# 1. Forty games of greedy agents. --print-out-dir prints a run's folder, also before the run exists.
games=(-c conf/c00_games/games.prototxt num_games=40)
python run.py "${games[@]}"
data=$(python run.py "${games[@]}" --print-out-dir)/games.jsonl.gz

# 2. Two models learn the orders of these games, one with smaller steps than the other.
models=()
for lr in 0.003 0.01; do
    training=(-c conf/c02_sup_train/sl.prototxt dataset_params.games_path="$data" lr=$lr)
    python run.py "${training[@]}"
    models+=("$(python run.py "${training[@]}" --print-out-dir)/model.json")
done

# 3. One against six: each model plays six of the other model, six greedy and six random agents. A run is seven games
#    from `seed` on, each power once. Equal play is a square score of 1/7.
for seed in 0 7 14; do
    for one in 0 1; do
        game=(-c conf/c01_ag_cmp/cmp_model.prototxt seed=$seed)
        game+=(agent_one.base_strategy_model.model_path="${models[one]}")
        other=agent_six.base_strategy_model.model_path="${models[1 - one]}"
        python run.py "${game[@]}" Iagent_six=agents/base_strategy_model "$other"
        python run.py "${game[@]}" Iagent_six=agents/greedy
        python run.py "${game[@]}" Iagent_six=agents/random
    done
done
