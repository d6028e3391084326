#!/usr/bin/env bash
# Everything that only a GPU can show, in one command: correctness, then the figures of docs/performance-log.md.
#
#   scripts/on_gpu.sh                 on a machine with an NVIDIA GPU and a CUDA build of torch
#   scripts/on_gpu.sh network fp32    only the steps whose names begin so: where the time is limited
#   scripts/on_gpu.sh doctor correctness timeline network-srgan layers-srgan   what a first call of two minutes is for
#   scripts/on_gpu.sh graph           one graph from codes to codes against operation by operation: agreement, then speed
#   scripts/on_gpu.sh --rehearse      the same on the CPU with tiny sizes: shows that the script works, nothing else
#
# Results go to $OUT, or ./gpu-results: JSON, charts, and a log of each step. A step that fails or takes too long does
# not stop the others; the exit code is the number of failed steps. $PYTHON names the interpreter (default: python3,
# or .venv/bin/python where that exists). PyAV may be missing: then there are no whole jobs; pytest, too: then the only test
# is the error in the figures. What python lacks can lie in a folder that PYTHONPATH names.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

out=${OUT:-gpu-results}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
mkdir -p "$out"
failed=0
rehearse=
[ "${1:-}" != --rehearse ] || { rehearse=yes && shift; }
wanted=("$@")

asked_for() { # NAME
    local prefix
    [ ${#wanted[@]} -gt 0 ] || return 0
    for prefix in "${wanted[@]}"; do [[ $1 != "$prefix"* ]] || return 0; done
    return 1
}

step() { # NAME SECONDS COMMAND...: stdout to NAME.json, messages to NAME.log
    local name=$1 limit=$2 started=$SECONDS code
    shift 2
    asked_for "$name" || return 0
    echo "== $name: $*"
    timeout --kill-after=10 "$limit" "$@" >"$out/$name.json" 2>"$out/$name.log"
    code=$?
    tail -n 3 "$out/$name.log"
    echo "   exit $code after $((SECONDS - started)) s"
    [ "$code" -eq 0 ] || failed=$((failed + 1))
}

has() { "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)"; }
bench() { "$python" -m vidsr bench "$@" --json; }

if [ "$rehearse" ]; then
    backend=cpu backends=cpu precisions=fp32 sizes=32x24,48x32 whole=48x32 seconds=0.05 models="bicubic fast" paths=fused require=0
else
    backend=cuda backends=cuda precisions=fp16 sizes=480x270,960x540 whole=960x540 seconds=3 models="srgan fast" paths="fused kernels+graph" require=1
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 VIDSR_REQUIRE_GPU=$require

command -v nvidia-smi >/dev/null && nvidia-smi >"$out/nvidia-smi.txt"
step doctor 120 "$python" -m vidsr doctor --json
if has pytest; then
    step graph-agreement 200 "$python" -m pytest tests/conformance/test_step.py -p no:cacheprovider
    tests=(tests/conformance tests/upscaling/test_staging.py --ignore=tests/conformance/test_step.py)
    ! has av || tests+=(tests/upscaling/test_enlarger.py)
    step correctness 500 "$python" -m pytest "${tests[@]}" -p no:cacheprovider
fi

export -f bench
export python
[ "$rehearse" ] || step ways 90 "$python" scripts/ways.py
for model in $models; do
    step "graph-$model" 120 bash -c 'bench "$@"' - --model "$model" --backends $backends --precisions $precisions \
        --sizes $sizes --seconds $seconds --network-only
    step "network-$model" 580 bash -c 'bench "$@"' - --model "$model" --backends $backends --precisions $precisions \
        --sizes $sizes --seconds $seconds --variants --network-only --plot "$out/network-$model.png"
    for path in $paths; do
        step "layers-$model-$path" 120 "$python" scripts/layers.py --model "$model" --backend $backends --path "$path" \
            --size "${sizes##*,}"
    done
    step "fp32-$model" 300 bash -c 'bench "$@"' - --model "$model" --backends $backends --precisions fp32 \
        --sizes "${sizes%%,*}" --seconds $seconds --network-only
    if has torch_tensorrt; then
        step "engines-$model" 900 "$python" -m vidsr engine build --model "$model" --size "${sizes%%,*}" --size "${sizes##*,}" \
            --dynamic --json
        step "tensorrt-$model" 600 bash -c 'bench "$@"' - --model "$model" --backends tensorrt --sizes $sizes \
            --seconds $seconds --network-only
    fi
done
if has torch_tensorrt; then
    step engines-checked 300 "$python" -m vidsr engine list --check --json
    backends=$backends,tensorrt
else
    echo "== without torch_tensorrt: no engines"
fi
if has av; then
    step whole-job 500 bash -c 'bench "$@"' - --model "${models%% *}" --backends $backends --precisions $precisions \
        --sizes $whole --seconds $seconds --preset ultrafast
    step nvdec-nvenc 200 "$python" -m vidsr upscale samples/sintel.mp4 -o "$out/nvdec-nvenc.mkv" --overwrite \
        --model "${models##* }" --decoder nvdec --codec hevc_nvenc --json
    rm -f "$out/nvdec-nvenc.mkv"
    for start in first second; do  # the second finds what the first has tried and tuned
        step "timeline-$start" 120 "$python" -m vidsr upscale samples/sintel.mp4 -o "$out/timeline.mp4" --overwrite \
            --model "${models%% *}" --backend $backend --preset ultrafast -vv
    done
    rm -f "$out/timeline.mp4"
else
    echo "== without av: no whole jobs"
fi

echo "$failed failed; results in $out"
exit "$failed"
