#!/usr/bin/env bash
# Everything that only a GPU can show, in one command: correctness, then the figures of docs/performance-log.md.
#
#   scripts/on_gpu.sh             on a machine with an NVIDIA GPU and a CUDA build of torch
#   scripts/on_gpu.sh --rehearse  the same steps on the CPU with tiny sizes: shows that the script works, nothing else
#
# Results go to $OUT, or ./gpu-results: JSON, charts, and a log of each step. A step that fails or takes too long does
# not stop the others; the exit code is the number of failed steps. $PYTHON names the interpreter (default: python3,
# or .venv/bin/python where that exists). PyAV may be missing: then there are no whole jobs.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

out=${OUT:-gpu-results}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
mkdir -p "$out"
failed=0

step() { # NAME SECONDS COMMAND...: stdout to NAME.json, messages to NAME.log
    local name=$1 limit=$2 started=$SECONDS code
    shift 2
    echo "== $name: $*"
    timeout --kill-after=10 "$limit" "$@" >"$out/$name.json" 2>"$out/$name.log"
    code=$?
    tail -n 3 "$out/$name.log"
    echo "   exit $code after $((SECONDS - started)) s"
    [ "$code" -eq 0 ] || failed=$((failed + 1))
}

has() { "$python" -c "import $1" 2>/dev/null; }
bench() { "$python" -m vidsr bench "$@" --json; }

if [ "${1:-}" = --rehearse ]; then
    backends=cpu precisions=fp32 sizes=32x24,48x32 whole=48x32 seconds=0.05 models="bicubic srgan:1" require=0 large=bicubic
else
    backends=cuda precisions=fp16 sizes=480x270,960x540 whole=960x540 seconds=3 models="srgan:16 fast" require=1
    large=srgan:16
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 VIDSR_REQUIRE_GPU=$require

command -v nvidia-smi >/dev/null && nvidia-smi >"$out/nvidia-smi.txt"
step doctor 120 "$python" -m vidsr doctor --json
if has pytest; then
    step correctness 400 "$python" -m pytest tests/conformance tests/test_staging.py tests/test_enlarger.py -p no:cacheprovider
fi

weights() { # NAME or NAME:BLOCKS; a generator that is not shipped is made with random weights: speed does not see them
    case $1 in
    *:*) "$python" scripts/random_weights.py "${1%%:*}" "${1##*:}" "$out/${1%%:*}.safetensors" && echo "$out/${1%%:*}.safetensors" ;;
    *) echo "$1" ;;
    esac
}

export -f bench
export python
for model in $models; do
    file=$(weights "$model") || { failed=$((failed + 1)); continue; }
    name=$(basename "${file%.safetensors}")
    step "network-$name" 500 bash -c 'bench "$@"' - --model "$file" --backends $backends --precisions $precisions \
        --sizes $sizes --seconds $seconds --variants --network-only --plot "$out/network-$name.png"
    step "fp32-$name" 300 bash -c 'bench "$@"' - --model "$file" --backends $backends --precisions fp32 \
        --sizes "${sizes%%,*}" --seconds $seconds --network-only
    if has torch_tensorrt; then
        step "engines-$name" 900 "$python" -m vidsr engine build --model "$file" --size "${sizes%%,*}" --size "${sizes##*,}" \
            --dynamic --json
        step "tensorrt-$name" 600 bash -c 'bench "$@"' - --model "$file" --backends tensorrt --sizes $sizes \
            --seconds $seconds --network-only
    fi
done
if has av; then
    file=$(weights "$large") && step whole-job 400 bash -c 'bench "$@"' - --model "$file" --backends $backends \
        --precisions $precisions --sizes $whole --seconds $seconds --preset ultrafast
fi

rm -f "$out"/*.safetensors
echo "$failed failed; results in $out"
exit "$failed"
