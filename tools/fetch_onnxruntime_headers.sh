#!/bin/sh
# Puts the C API headers of ONNX Runtime under DIR (default .cache/onnxruntime-headers) and prints their folder. Uses the system's headers
# where libonnxruntime-dev is installed; else takes that package from a newer release of this distribution (Debian 12 has none) through a
# private apt configuration made from the machine's own, so that nothing on the host changes.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/.cache/onnxruntime-headers}
suite=${VERGE_HEADERS_SUITE:-trixie}

for dir in /usr/include/onnxruntime /usr/local/include/onnxruntime /usr/include/onnxruntime/core/session; do
  if [ -f "$dir/onnxruntime_c_api.h" ]; then
    echo "$dir"
    exit 0
  fi
done
found() { find "$out/root" -name onnxruntime_c_api.h 2>/dev/null | head -n 1; }
if [ -n "$(found)" ]; then
  dirname "$(found)"
  exit 0
fi
for tool in apt-get dpkg; do
  if ! command -v $tool >/dev/null; then
    echo "$0: $tool not found: install the headers of ONNX Runtime (onnxruntime_c_api.h) under /usr/include/onnxruntime" >&2
    exit 1
  fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/sources" "$work/download"
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
if [ -z "$codename" ]; then
  echo "$0: cannot tell this system's release: install the headers of ONNX Runtime under /usr/include/onnxruntime" >&2
  exit 1
fi
# The machine's own main source with the suite's name replaced; update and security suites are left out.
for source in /etc/apt/sources.list.d/*.sources; do
  [ -f "$source" ] || continue
  awk -v from="$codename" -v to="$suite" '
    BEGIN { RS = ""; ORS = "\n\n" }
    {
      n = split($0, line, "\n"); keep = 0; text = ""
      for (i = 1; i <= n; i++) {
        if (line[i] ~ /^#/) continue
        if (line[i] ~ /^Suites:/) {
          m = split(substr(line[i], 8), suites, " ")
          for (k = 1; k <= m; k++) if (suites[k] == from) keep = 1
          line[i] = "Suites: " to
        }
        text = text line[i] "\n"
      }
      if (keep) print text
    }' "$source" >> "$work/sources/private.sources"
done
for source in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -f "$source" ] || continue
  sed -n -E "/^deb /{s/ $codename( |\$)/ $suite\\1/;t keep;d;:keep;p}" "$source" >> "$work/sources/private.list"
done
if ! [ -s "$work/sources/private.sources" ] && ! [ -s "$work/sources/private.list" ]; then
  echo "$0: no package source of release '$codename' in /etc/apt: install the headers of ONNX Runtime under /usr/include/onnxruntime" >&2
  exit 1
fi

private_apt() {
  apt-get -q -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o Dir::Etc::sourcelist=/dev/null \
    -o Dir::Etc::sourceparts="$work/sources" -o APT::Get::List-Cleanup=0 -o Acquire::Languages=none \
    -o Debug::NoLocking=1 -o APT::Default-Release= -o APT::Sandbox::User= "$@"
}
private_apt update >&2
(cd "$work/download" && private_apt download libonnxruntime-dev >&2)
mkdir -p "$out"
rm -rf "$out/root.new"
dpkg -x "$work"/download/libonnxruntime-dev_*.deb "$out/root.new"
rm -rf "$out/root"
mv "$out/root.new" "$out/root"
if [ -z "$(found)" ]; then
  echo "$0: libonnxruntime-dev of '$suite' holds no onnxruntime_c_api.h" >&2
  exit 1
fi
dirname "$(found)"
