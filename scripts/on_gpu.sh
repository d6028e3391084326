#!/usr/bin/env bash
# Everything that only a GPU can show, in one command: correctness, then the figures of docs/performance-log.md.
#
#   scripts/on_gpu.sh                 on a machine with an NVIDIA GPU and a CUDA build of torch: half an hour
#   scripts/on_gpu.sh --seconds 110   what matters most first, and no longer than that: where a machine is lent
#   scripts/on_gpu.sh network fp32    only the steps whose names begin so
#   scripts/on_gpu.sh --rehearse      the same on the CPU with tiny sizes: shows that the script works, nothing else
#
# $OUT, or ./gpu-results, gets results.txt (what each step printed, JSON mostly, under a line "== NAME"), log.txt (its
# messages), charts. A step that fails or takes too long does not stop the others; the exit code is the number of failed
# steps. The last line counts them, those left out for want of time, and those that need what is not here.
#
# $PYTHON names the interpreter (default: .venv/bin/python where that exists, or python3). What it lacks is installed,
# without a network, from wheels/*.whl: PyAV, without which there are no whole jobs; pytest, without which the only test
# is the error in the figures; platformdirs, without which nothing is remembered from one step to the next.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

out=${OUT:-gpu-results}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
failed=0 late=0 without=0 budget=1000000
rehearse=
while [[ ${1:-} == --* ]]; do
    case $1 in
        --rehearse) rehearse=yes ;;
        --seconds) budget=$2 && shift ;;
        *) echo "unknown option $1" >&2 && exit 2 ;;
    esac
    shift
done
wanted=("$@")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
: >"$out/results.txt"
: >"$out/log.txt"

asked_for() { # NAME
    local prefix
    [ ${#wanted[@]} -gt 0 ] || return 0
    for prefix in "${wanted[@]}"; do [[ $1 != "$prefix"* ]] || return 0; done
    return 1
}

begin() { # NAME SECONDS COMMAND...: in the background, with as much time as there is; `collect` waits for it
    local name=$1 limit=$2 left=$((budget - SECONDS))
    shift 2
    asked_for "$name" || return 0
    [ ! "$rehearse" ] || limit=$((limit * 5)) # beside whatever else a machine does
    if [ "$left" -lt 5 ]; then
        late=$((late + 1)) && echo "== $name: no time left"
        return 0
    fi
    names+=("$name") began+=("$SECONDS")
    echo "$*" >"$work/$name.command"
    timeout --kill-after=5 "$((limit < left ? limit : left))" "$@" >"$work/$name.out" 2>"$work/$name.err" &
    running+=($!)
}

collect() {
    local index name code
    for index in "${!running[@]}"; do
        name=${names[index]}
        wait "${running[index]}"
        code=$?
        echo "== $name: $(cat "$work/$name.command")" | tee -a "$out/results.txt" "$out/log.txt"
        cat "$work/$name.out" >>"$out/results.txt"
        cat "$work/$name.err" >>"$out/log.txt"
        tail -qn 3 "$work/$name.err"
        echo "   exit $code after $((SECONDS - began[index])) s" | tee -a "$out/log.txt"
        [ "$code" -eq 0 ] || failed=$((failed + 1))
    done
    names=() began=() running=()
}
names=() began=() running=()

step() { # NAME SECONDS COMMAND...: alone, since it is timed
    begin "$@"
    collect
}

lacks() { # WHAT NAME...: steps that need what is not here
    local what=$1 name
    shift
    for name in "$@"; do
        asked_for "$name" && without=$((without + 1)) && echo "== $name: there is no $what"
    done
}

has() { "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)"; }
bench() { "$python" -m vidsr bench "$@" --json; }
export -f bench
export python

if [ "$rehearse" ]; then
    backend=cpu precisions=fp32 sizes=32x24,48x32 whole=48x32 seconds=0.05 models="bicubic fast" paths=fused require=0
    some=(--end 0.41)
else
    backend=cuda precisions=fp16 sizes=480x270,960x540 whole=960x540 seconds=3 models="srgan fast-video" paths="fused kernels+graph" require=1
    some=()
    [ "$budget" -gt 1000 ] || seconds=0.7 paths=kernels+graph
fi
unset PYTHONDONTWRITEBYTECODE # which would have every start compile all modules
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 VIDSR_REQUIRE_GPU=$require
if compgen -G "wheels/*.whl" >/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --upgrade --target "$work/site" wheels/*.whl
    export PYTHONPATH="$PYTHONPATH:$work/site"
fi
command -v nvidia-smi >/dev/null && nvidia-smi >>"$out/log.txt"

# what is right, all at once, in no more than two thirds of the time; what tests tune meanwhile is forgotten
most=$((budget * 2 / 3 < 500 ? budget * 2 / 3 : 500))
if has pytest; then
    pytest=(env XDG_CACHE_HOME="$work/cache" "$python" -m pytest -v -p no:cacheprovider)
    tests=(tests/conformance tests/upscaling/test_staging.py --ignore=tests/conformance/test_step.py)
    ! has av || tests+=(tests/upscaling/test_enlarger.py)
    [ ! "$rehearse" ] || tests=(tests/upscaling/test_staging.py) # the suite has run the others
    begin graph-agreement $most "${pytest[@]}" tests/conformance/test_step.py
    begin correctness $most "${pytest[@]}" "${tests[@]}"
else
    lacks pytest graph-agreement correctness
fi
begin doctor 120 "$python" -m vidsr doctor --json
collect

# what a job takes before and after its frames: the second finds what the first has tried and tuned
if has av; then
    for start in first second; do
        step "timeline-$start" 120 "$python" -m vidsr upscale samples/sintel.mp4 -o "$work/timeline.mp4" --overwrite \
            --model "${models%% *}" --backend $backend --preset ultrafast "${some[@]}" -vv
    done
fi
for model in $models; do
    step "graph-$model" 120 bash -c 'bench "$@"' - --model "$model" --backends $backend --precisions $precisions \
        --sizes $sizes --seconds $seconds --network-only
done
if [ "$rehearse" ]; then lacks GPU ways; else step ways 240 "$python" scripts/ways.py; fi
step steady 60 "$python" scripts/steady.py --size $sizes --device $backend
if has av; then
    step whole-job 500 bash -c 'bench "$@"' - --model "${models%% *}" --backends $backend --precisions $precisions \
        --sizes $whole --seconds $seconds --preset ultrafast
    step nvdec-nvenc 200 "$python" -m vidsr upscale samples/sintel.mp4 -o "$work/nvdec-nvenc.mkv" --overwrite \
        --model "${models##* }" --decoder nvdec --codec hevc_nvenc "${some[@]}" --json
else
    lacks av timeline-first timeline-second whole-job nvdec-nvenc
fi
for model in $models; do
    for path in $paths; do
        step "layers-$model-$path" 120 "$python" scripts/layers.py --model "$model" --backend $backend --path "$path" \
            --size "${sizes##*,}"
    done
    step "network-$model" 580 bash -c 'bench "$@"' - --model "$model" --backends $backend --precisions $precisions \
        --sizes $sizes --seconds $seconds --variants --network-only --plot "$out/network-$model.png"
    step "fp32-$model" 300 bash -c 'bench "$@"' - --model "$model" --backends $backend --precisions fp32 \
        --sizes "${sizes%%,*}" --seconds $seconds --network-only
done
if has torch_tensorrt && [ ! "$rehearse" ]; then
    for model in $models; do
        step "engines-$model" 900 "$python" -m vidsr engine build --model "$model" --size "${sizes%%,*}" --size "${sizes##*,}" \
            --dynamic --json
        step "tensorrt-$model" 600 bash -c 'bench "$@"' - --model "$model" --backends tensorrt --sizes $sizes \
            --seconds $seconds --network-only
    done
    step engines-checked 300 "$python" -m vidsr engine list --check --json
else
    lacks "TensorRT with a GPU" engines tensorrt
fi

echo "$failed failed, $late without time, $without not here; results in $out" | tee -a "$out/log.txt"
exit "$failed"
