#!/usr/bin/env bash
# test_dist.sh [TARBALL [ZOO]]: unpacks the tarball into an otherwise empty root folder and there runs `verge doctor` and `verge serve`, which
# a client outside then calls. Without a zoo it serves the tiny network of the engines' own contract check.
set -euo pipefail
cd "$(dirname "$0")/../.."
tarball=${1:-$(ls -t dist/verge-*.tar.xz | head -n 1)}
zoo=${2:-}
max_unpacked=${MAX_UNPACKED:-120000000} max_packed=${MAX_PACKED:-45000000}  # bytes

root=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
  rm -rf "$root"
}
trap finish EXIT
enter=(chroot "$root")
[ "$(id -u)" -eq 0 ] || enter=(unshare -r chroot "$root")

mkdir -p "$root/opt"
tar -C "$root/opt" -xf "$tarball"
mv "$root"/opt/verge-* "$root/opt/verge"
unpacked=$(du -sb --apparent-size "$root/opt/verge" | cut -f1)
packed=$(stat -c %s "$tarball")
awk -v u="$unpacked" -v p="$packed" 'BEGIN {printf "== %.1f MB unpacked, %.1f MB packed\n", u/1e6, p/1e6}'
if [ "$unpacked" -gt "$max_unpacked" ] || [ "$packed" -gt "$max_packed" ]; then
  echo "error: larger than $max_unpacked bytes unpacked or $max_packed packed" >&2
  exit 1
fi
if [ -n "$zoo" ]; then
  cp -r "$zoo" "$root/zoo"
  served=/zoo
else
  served=$(cd "$root" && find opt/verge/lib/verge/plugins/check -name '*.onnx' -o -path '*/check/*' -name '*.tflite' | sort | head -n 1)
  [ -n "$served" ] || { echo "error: no zoo given and no network in the tarball" >&2; exit 1; }
  served=/$served
fi

echo "== verge doctor in the empty root"
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "${enter[@]}" /opt/verge/bin/verge doctor

echo "== verge serve $served in the empty root"
mkfifo "$root/ready"
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "${enter[@]}" /opt/verge/bin/verge serve "$served" --listen 127.0.0.1:0 >"$root/ready" &
server=$!
# One line when the server is ready; end of file when it gave up.
ready=$(timeout 120 head -n 1 "$root/ready") || ready=
[ -n "$ready" ] || { echo "error: the server did not become ready" >&2; exit 1; }
echo "$ready"
python3 - "$ready" <<'PY'
import json, sys, urllib.request
ready = json.loads(sys.argv[1])
address = ready.get("address") or ready["listen"]
base = address if address.startswith("http") else "http://" + address
def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(base + path, data, {"Content-Type": "application/json"}), timeout=60) as answer:
        return json.load(answer)
assert call("/v2/health/ready")
names = [m["name"] for m in call("/v2/repository/index", {})] if "models" not in ready else ready["models"]
names = [n if isinstance(n, str) else n["name"] for n in names]
assert names, "the server serves no model"
for name in names:
    inputs = []
    for spec in call("/v2/models/" + name)["inputs"]:
        shape = [1 if d < 0 else d for d in spec["shape"]]
        count = 1
        for d in shape:
            count *= d
        inputs.append({"name": spec["name"], "datatype": spec["datatype"], "shape": shape, "data": [0] * count})
    outputs = call(f"/v2/models/{name}/infer", {"inputs": inputs})["outputs"]
    assert outputs and all(o["data"] for o in outputs), outputs
    print(f"   {name} answered with", ", ".join(f"{o['name']} {o['shape']}" for o in outputs))
PY
kill -TERM "$server"
rc=0
wait "$server" || rc=$?
server=
[ "$rc" -eq 0 ] || { echo "error: the server ended with $rc" >&2; exit 1; }
echo "== ok"
