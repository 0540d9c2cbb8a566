#!/usr/bin/env bash
# ctest.sh FOLDER: runs the folder's tests, two at a time, and ends with ctest's own summary.
set -euo pipefail
cd "$(dirname "$0")/../.."
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
echo "== Tests of $1"
ctest --test-dir "$1" --output-on-failure --no-tests=error -j2
