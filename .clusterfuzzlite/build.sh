#!/bin/bash -eu
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Builds every fuzz target into $OUT, each with a seed corpus, for ClusterFuzzLite and OSS-Fuzz, which set SRC, OUT and WORK.
# What earlier runs left in fuzz/corpus/TARGET joins the seeds.
# Outside of a farm:
#   SRC=$(dirname "$PWD") OUT=$(mktemp -d) WORK=$(mktemp -d) SANITIZER=none bash .clusterfuzzlite/build.sh
#
# There are no dictionaries: what the fuzzer makes is a stream of choices from which a case is built, no text with words in it.
set -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ -f $here/../fuzz/Cargo.toml ]]; then
    cd "$here/.."
else
    # A farm runs a copy of this file from $SRC.
    cd "$SRC/framediff"
fi
work=${WORK:-$(mktemp -d)}
toolchain=()
if ! cargo --version | grep -q nightly; then
    toolchain=(+nightly)
fi

# A target says so if it hardly ever makes a case; a farm sees that as a failing build, not as a silent target.
# Comparisons are not traced: inputs are decoded choices, and hold no bytes that a comparison could reveal. Assertions stay in.
cargo "${toolchain[@]}" fuzz build --sanitizer "${SANITIZER:-address}" --no-trace-compares
targets=$(cargo "${toolchain[@]}" fuzz list)
[[ -n $targets ]]

# The seeds are made without the flags that the farm has for the targets, by whatever toolchain is the default.
env -u RUSTFLAGS -u CFLAGS -u CXXFLAGS cargo run --quiet --example fuzz_seeds \
    -- "$work/seeds"

for target in $targets; do
    cp "fuzz/target/x86_64-unknown-linux-gnu/release/$target" "$OUT/"
    [[ ! -d fuzz/corpus/$target ]] || cp --recursive "fuzz/corpus/$target/." "$work/seeds/$target"
    # Names within the archive are those of the files alone.
    (cd "$work/seeds/$target" && zip --quiet --recurse-paths - .) >"$OUT/${target}_seed_corpus.zip"
    printf '[libfuzzer]\ntimeout = 10\n' >"$OUT/$target.options"
done
