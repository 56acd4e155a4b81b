#!/bin/sh
# What made the golden runs h100-*: on a bare machine with a GPU and no network, from a bundle made elsewhere by
#   labctl bundle --facts facts.json --with-controller --part-size 60MB --output far -e "$WITHOUT"
# Usage: h100.sh BUNDLE OUT SECONDS STEP... ; a step that is not begun within SECONDS is left out. What it made so far
# lies in OUT after each step.
# shellcheck disable=SC2329  # the functions are called by do_step, through step
set -u
bundle=$1 out=$2 limit=$3
shift 3
repo=$(CDPATH="" cd -- "$(dirname -- "$0")/../../.." && pwd)
began=$(date +%s)
export HOME="${LINE_HOME:-/tmp/home}" COLUMNS=110
WITHOUT=${WITHOUT-'vllm_without=[flashinfer-cubin,tilelang,z3-solver,torchcodec,pynvvideocodec,nvidia-cutlass-dsl,nvidia-cutlass-dsl-libs-base,nvidia-cutlass-dsl-libs-cu13,nvidia-nvvm,nvidia-cuda-nvcc,nvidia-cuda-tileiras]'}
SMALL=${SMALL-offline} LARGE=${LARGE-offline-7b} SMALL_BENCH=${SMALL_BENCH-bench} LARGE_BENCH=${LARGE_BENCH-bench-7b}
SIZES=${SIZES-1,4,8,16,64,256} REPEATS=${REPEATS-24}
# Given to every run, split at spaces: a rehearsal without a GPU takes `--engine enforce_eager=true` and such.
WORDS=${WORDS-}
mkdir -p "$HOME" "$out"
cd "$HOME" || exit 1
PATH=$HOME/labctl-env/bin:$PATH
lab=$HOME/.labctl/local

# step NAME COMMAND...: with its output and its seconds in OUT/line.log; its exit status ends nothing, and is the
# script's in the end where it is not 0 (`doctor` gives 1 on a bare machine).
status=0
step() {
    name=$1
    shift
    first=$(date +%s)
    printf '\n=== %s (%s s)\n' "$name" "$((first - began))" >>"$out/line.log"
    "$@" >>"$out/line.log" 2>&1
    code=$?
    [ "$code" = 0 ] || status=$code
    printf '=== %s: exit %s after %s s\n' "$name" "$code" "$(($(date +%s) - first))" | tee -a "$out/line.log"
    [ ! -d runs ] || tar --exclude=report --exclude=local -czf "$out/runs.tar.gz" runs
}
newest() { find runs -mindepth 1 -maxdepth 1 -name '2*' | sort | tail -n 1; }
# shellcheck disable=SC2086 # WORDS are several
run() { labctl run "$@" $WORDS; }
# shellcheck disable=SC2086
without() { labctl "$@" ${WITHOUT:+-e "$WITHOUT"}; }
# What a run may take from an earlier one stays away: compiled graphs, kernels, what models were found to be.
uncached() { rm -rf "$lab/cache" && run "$@"; }
# Everything is kept but the kernels that Triton compiled: what they cost a start that does not find them.
unkept() {
    rm -rf "$HOME/no-kernels"
    cat "$HOME"/labctl-env/lib/python*/site-packages/labctl/labs/"$SMALL.toml" - >unkept.toml <<END

[env]
TRITON_CACHE_DIR = "$HOME/no-kernels"
END
    run unkept.toml
}
doctor() {
    labctl doctor --host local
    labctl doctor --host local --json >"$out/doctor.json"
}
imports() { "$lab/env/bin/python" -X importtime -c 'import vllm; vllm.LLM' 2>"$out/importtime.txt"; }
each_verified() (
    failed=0
    for one in runs/2*; do labctl verify "$one" || failed=1; done
    exit "$failed"
)
beside() (
    tool=$1
    shift
    PYTHONPATH=$repo PYTHONDONTWRITEBYTECODE=1 exec "$HOME/labctl-env/bin/python" -m "tests.benchmarks.$tool" "$@"
)
# As vLLM's own benchmark samples, so that the run that shows what the sampler costs is also what it is compared with.
# shellcheck disable=SC2086
sampler() {
    beside sampler_cost --lab "$LARGE_BENCH" --repeats "$REPEATS" --json "$out/sampler.json" -- \
        --sampling temperature=1.0 --sampling top_p=1.0 $WORDS && newest >"$out/compared"
}
throughput() { beside vllm_throughput "$(cat "$out/compared")" --lab-dir "$lab" --json "$out/throughput.json"; }

do_step() {
    case $1 in
        controller) step "$1" sh "$bundle/install-controller.sh" ;;
        doctor) step "$1" doctor ;;
        provision | again)
            step "$1" without provision local --bundle "$bundle"
            cp .labctl/logs/provision-local.jsonl "$out/$1.jsonl"
            ;;
        prove) step "$1" labctl provision local --verify ;;
        cold) step "$1" uncached "$SMALL" ;;
        warm) step "$1" run "$SMALL" ;;
        unkept) step "$1" unkept ;;
        imports) step "$1" imports ;;
        large) step "$1" run "$LARGE" ;;
        bench) step "$1" run "$SMALL_BENCH" --batch-sizes "$SIZES" --repeats 5 ;;
        bench-large) step "$1" run "$LARGE_BENCH" --batch-sizes "$SIZES" ;;
        sampler) step "$1" sampler ;;
        throughput) step "$1" throughput ;;
        verify) step "$1" each_verified ;;
    esac
}

for name in "$@"; do
    if [ $(($(date +%s) - began)) -lt "$limit" ]; then
        do_step "$name"
    else
        printf '=== %s: left out, no time\n' "$name" | tee -a "$out/line.log"
    fi
done
exit "$status"
