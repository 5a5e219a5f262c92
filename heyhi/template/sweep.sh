#!/usr/bin/env bash
# A batch: every `python run.py` line is one run. A run that is done is not run again: add lines, start it again.
#
#     heyhi plan sweep.sh       what is pending, and why
#     heyhi start sweep.sh      do it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

for degree in 1 3 5; do
    for points in clean noisy; do
        python run.py -c conf/fit/sine.prototxt degree=$degree Ipoints=$points
    done
done

# One that starts where another ends. The folder that a run has, or will have, is known before it runs.
first=(-c conf/fit/sine.prototxt degree=5)
state=$(python run.py "${first[@]}" Ipoints=clean --print-out-dir)/state.json
python run.py "${first[@]}" Ipoints=noisy start_from="$state"
