#!/usr/bin/env bash
# debian.sh [bench|fuzz]: installs the Debian packages that building and testing Verge needs, or those of `make bench` or `make fuzz`, and says
# why. Does nothing when all are there.
set -euo pipefail

declare -A why=(
  [g++]="compiler" [cmake]="build" [ninja-build]="build" [ccache]="faster rebuilds" [patchelf]="relocatable tarball"
  [zstd]="relocatable tarball" [xz-utils]="relocatable tarball" [file]="relocatable tarball"
  [libnghttp2-dev]="HTTP/2" [libssl-dev]="digests" [nlohmann-json3-dev]="manifests" [libyaml-cpp-dev]="model.yaml and configuration"
  [libspdlog-dev]="logs" [libfmt-dev]="logs" [libcli11-dev]="command line" [libsimdjson-dev]="request JSON" [zlib1g-dev]="gzip and npz data"
  [protobuf-compiler]="descriptors for server reflection" [libjpeg62-turbo-dev]="JPEG decoding" [libpng-dev]="PNG decoding"
  [libgtest-dev]="tests" [libgmock-dev]="tests" [nghttp2-client]="load tests (h2load)" [curl]="tests"
  [python3-venv]="Python environments" [chromium]="tests of the page" [dataset-fashion-mnist]="the example's data"
)
case ${1:-} in
  bench) why=([libgrpc++-dev]="grpc++, to compare with" [libprotobuf-dev]="its messages" [protobuf-compiler]="its messages" [protobuf-compiler-grpc]="its service") ;;
  fuzz) why=([clang-14]="libFuzzer" [libclang-rt-14-dev]="libFuzzer and its sanitizers" [libprotobuf-dev]="the other reader of ModelInfer" [protobuf-compiler]="the other reader of ModelInfer") ;;
esac
missing=()
for package in "${!why[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "== Installing ${#missing[@]} Debian packages:"
for package in "${missing[@]}"; do printf '   %-24s %s\n' "$package" "${why[$package]}"; done | sort
run=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "error: neither root nor sudo; install these packages by hand: ${missing[*]}" >&2; exit 3; }
  run=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${run[@]}" apt-get update -q && "${run[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "error: apt-get could not install: ${missing[*]}" >&2
  exit 3
fi
