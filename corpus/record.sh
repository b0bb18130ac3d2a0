#!/usr/bin/env bash
# Records corpus/snapshots anew, with the given interpreters:
#   corpus/record.sh PYTHON3.14 PYTHON3.15 PYTHON3.15-DEBUG
# The release build of 3.15 must have a JIT. What is recorded differs from run to run in addresses and thread ids, and
# where threads are; everything else follows from the seeds. Names of files are part of saved cases: keep them.
set -euo pipefail
[[ $# -eq 3 ]] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
old=$1 release=$2 debug=$3
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --release
framediff=${CARGO_TARGET_DIR:-target}/release/framediff
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT

# record NAME PYTHON FAMILY SEED [OPTION...]
record() {
    local name=$1 python=$2 family=$3 seed=$4
    shift 4
    "$framediff" snapshot --python "$python" --family "$family" --seed "$seed" --output "$new/$name.snapshot" "$@"
}

record release-alternating "$release" alternating 1 --frame-size equal:8 --depth 3 --stops 8
record release-deep "$release" deep 2 --depth 300 --frame-size unequal:120 --names latin1
record release-recursion "$release" recursion 3 --stops 8
record release-exceptions "$release" exceptions 4 --depth 5 --names wide --stops 6
record release-generators "$release" generators 5 --depth 4 --stops 8
record release-coroutines "$release" coroutines 6 --depth 3 --names astral --stops 6
record release-through-c "$release" through-c 7 --stops 8
record release-failed-bind "$release" failed-bind 8 --stops 6
record release-finalizers "$release" finalizers 9 --names latin1 --stops 6
record release-kept-frames "$release" kept-frames 10 --stops 6
record release-monitoring "$release" monitoring 11 --stops 6
record release-threads "$release" threads 12 --width 3 --depth 3 --frame-size equal:8 --stops 8
record jit-alternating "$release" alternating 13 --jit on --frame-size equal:4 --speed 2000 --stops 6
record jit-deep "$release" deep 14 --jit on --depth 120 --frame-size equal:200
record jit-generators "$release" generators 15 --jit on --speed 2000 --stops 6
record jit-through-c "$release" through-c 16 --jit on --speed 2000 --stops 6
record debug-alternating "$debug" alternating 17 --frame-size equal:8 --names wide --stops 6
record debug-deep "$debug" deep 18 --depth 200 --frame-size unequal:60
record debug-coroutines "$debug" coroutines 19 --stops 6
record debug-threads "$debug" threads 20 --width 2 --depth 2 --frame-size equal:0 --stops 8
record release-construction "$release" construction 25 --stops 6
record release-delegates "$release" delegates 26 --stops 8
record release-shares "$release" shares 27 --stops 6
record release-collections "$release" collections 28 --stops 6
record old-deep "$old" deep 21 --depth 150 --frame-size unequal:100 --names astral --stops 2
record old-generators "$old" generators 22 --depth 4
record old-threads "$old" threads 23 --width 3 --names wide
record old-through-c "$old" through-c 24

mkdir -p corpus/snapshots
mv "$new"/*.snapshot corpus/snapshots/
