#!/usr/bin/env bash
# run.sh FOLDER SECONDS [FUZZER …]: each fuzzer for that many seconds, starting from its seeds and what earlier runs found interesting
# (kept under .cache/fuzz). 0 seconds: the seeds and the kept inputs once, no search. Fails at a finding, and says how to see it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$1 seconds=$2
shift 2
names=("$@")
[ ${#names[@]} -gt 0 ] || names=($(cd "$build/fuzz" && ls | grep '^fuzz_' | sed 's/^fuzz_//'))
export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
mkdir -p .cache/fuzz/seeds .cache/fuzz/findings
python3 tests/fuzz/make_seeds.py .cache/fuzz/seeds
failed=0
for name in "${names[@]}"; do
  corpus=.cache/fuzz/corpus/$name
  seeds=.cache/fuzz/seeds/$name
  mkdir -p "$corpus" "$seeds"
  log=$(mktemp)
  how=(-max_total_time="$seconds")
  [ "$seconds" != 0 ] || how=(-runs=0)
  if "$build/fuzz/fuzz_$name" "${how[@]}" -max_len=16384 -timeout=10 -rss_limit_mb=3000 -print_final_stats=1 \
      -artifact_prefix=".cache/fuzz/findings/$name-" "$corpus" "$seeds" >"$log" 2>&1; then
    printf '%-12s ok   %s runs, %s inputs kept, coverage %s\n' "$name" "$(sed -n 's/.*number_of_executed_units: *//p' "$log")" \
      "$(ls "$corpus" | wc -l)" "$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2)"
  else
    failed=1
    printf '%-12s FINDING\n' "$name"
    grep -vE '^#[0-9]+\s+(NEW|REDUCE|pulse|INITED|RELOAD)' "$log" | tail -n 40
    echo "   again: $build/fuzz/fuzz_$name $(sed -n 's/.*Test unit written to //p' "$log" | tail -1)"
  fi
  rm -f "$log"
done
exit $failed
