#!/usr/bin/env bash
# Trains a recipe on a rented GPU, one piece of time after the other:
#
#   scripts/train_on_gpu.sh RECIPE DATA MINUTES [options of fit or gan, such as --init fast]
#
# The first call measures the data rate, the speed and its floor, and begins; every later one goes on where the last one
# stopped. ANNEAL=N takes the newest checkpoint to rate zero in N steps instead, and exports the weights with their card.
# Runs go to $OUT/runs, or ./gpu-runs; $BENCHMARKS is a folder with Set5 and Set14, $PYTHON the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

recipe=${1:?RECIPE} data=${2:?DATA} minutes=${3:?MINUTES}
shift 3
out=${OUT:-gpu-runs}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
name=$(basename "${recipe%.toml}")
run=$out/runs/$name
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
benchmarks=${BENCHMARKS:+--benchmarks $BENCHMARKS}
stage=fit
grep -q '^adversarial' "$([ -f "$recipe" ] && echo "$recipe" || echo "train/recipes/$recipe.toml")" && stage=gan

train() { "$python" -m train "$stage" "$recipe" --data "$data" --out "$run" $benchmarks --minutes "$minutes" "$@"; }

mkdir -p "$out"
if [ -n "${ANNEAL:-}" ]; then
    if [ -d "$run/anneal" ]; then train --anneal "$ANNEAL" --resume; else train --anneal "$ANNEAL"; fi
    "$python" -m train export "$run" -o "$out/$name.safetensors" $benchmarks
elif [ -d "$run/stable" ]; then
    train --resume
else
    "$python" -m train doctor "$recipe" --data "$data" | tee "$out/doctor-$name.txt"
    train "$@"
fi
