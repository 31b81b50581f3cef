#!/usr/bin/env bash
# usage: run.sh SECONDS [TARGET...]
#
# Builds the fuzz targets and runs them (all of them where none is named) one after the other, each for SECONDS, and
# says for each how many inputs it ran and how many of them were faults. No input may take longer than ten seconds or
# more than one gigabyte: what is allocated beyond is refused by the system. That limit leaves no space for the address
# sanitizer, which would find little: the readers are safe Rust.
set -u
cd "$(dirname "$0")" || exit 1
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)
cargo +nightly fuzz build --sanitizer none || exit 1
if [ -d /dev/shm ]; then base=/dev/shm; else base=${TMPDIR:-/tmp}; fi
TMPDIR=$(mktemp -d "$base/tabpo-fuzz.XXXXXX")
export TMPDIR RAYON_NUM_THREADS=1
trap 'rm -rf "$TMPDIR"' EXIT
binaries=target/$(rustc -vV | sed -n 's/^host: //p')/release
for target; do
    mkdir -p "corpus/$target" "artifacts/$target"
    log=artifacts/$target/log
    # Address space beside the heap: the program, stacks and arenas of threads.
    (ulimit -v 4000000; nice "$binaries/$target" "corpus/$target" -artifact_prefix="artifacts/$target/" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1) >"$log" 2>&1
    status=$?
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    faults=$(find "artifacts/$target" -type f ! -name log | wc -l)
    echo "$target: ${inputs:-?} inputs in $seconds s, status $status, $faults faults kept"
done
