#!/usr/bin/env bash
# build.sh FOLDER SANITIZER JOBS [TARGET …]: configures and builds; quiet unless something changes or fails. VERGE_CMAKE: further arguments
# of cmake.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$1 sanitizer=$2 jobs=$3
shift 3
# A clone elsewhere finds what this one compiled: paths below the project count as relative.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
tools/fetch_onnxruntime_headers.sh
if [ ! -f "$folder/build.ninja" ]; then
  echo "== Configuring $folder${sanitizer:+ (sanitizer: $sanitizer)}"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  cmake -G Ninja -B "$folder" -DVERGE_SANITIZE="$sanitizer" ${VERGE_CMAKE:-} >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
  grep -E '^-- engine' "$log" || true
fi
if ! ninja -C "$folder" -n "$@" | grep -q 'no work to do'; then
  echo "== Building $folder with $jobs jobs"
  NINJA_STATUS='[%f/%t] ' ninja -C "$folder" -j"$jobs" "$@"
fi
