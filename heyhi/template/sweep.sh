#!/usr/bin/env bash
# A batch: every `python run.py` line is one run. Add lines and start it again: only the new runs start.
#
#     heyhi plan sweep.sh       list the pending runs, and why
#     heyhi start sweep.sh      start them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

for degree in 1 3 5; do
    for points in clean noisy; do
        python run.py -c conf/fit/sine.prototxt degree=$degree Ipoints=$points
    done
done

# A run that starts where another ends. --print-out-dir prints a run's folder, also before the run exists.
first=(-c conf/fit/sine.prototxt degree=5)
state=$(python run.py "${first[@]}" Ipoints=clean --print-out-dir)/state.json
python run.py "${first[@]}" Ipoints=noisy start_from="$state"
