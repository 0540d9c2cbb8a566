#!/usr/bin/env bash
# python_env.sh NAME REQUIREMENTS: the project-local environment .venv/NAME with exactly the pinned packages. Does nothing when they
# are there already.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=$1 requirements=$2
env=.venv/$name
stamp=$env/requirements.sha256
want=$(sha256sum <"$requirements" | cut -d' ' -f1)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

echo "== Python environment $env: $(grep -cE '^[A-Za-z0-9]' "$requirements") pinned packages ($(head -n 1 "$requirements" | sed 's/^# *//'))"
python=/usr/bin/python3
[ -x "$python" ] || python=python3
[ -x "$env/bin/python" ] || "$python" -m venv "$env"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "$env/bin/python" -m pip install -q --disable-pip-version-check --no-input -r "$requirements" >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "error: pip could not install $requirements into $env" >&2
  exit 3
fi
echo "$want" >"$stamp"
