#!/usr/bin/env bash
# ctest.sh FOLDER [CTEST OPTION …]: runs the folder's tests, two at a time, and ends with ctest's own summary.
set -euo pipefail
cd "$(dirname "$0")/../.."
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
export GTEST_BRIEF=1  # a failed program's output is its failures
folder=$1
shift
echo "== Tests of $folder"
ctest --test-dir "$folder" "$@" --output-on-failure --no-tests=error -j2
