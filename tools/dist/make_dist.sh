#!/usr/bin/env bash
# make_dist.sh "ENGINE …" [BUILD_FOLDER]: dist/verge-VERSION-linux-x86_64.tar.xz with these engines, see README.md beside this script.
set -euo pipefail
cd "$(dirname "$0")/../.."
engines=${1:?usage: make_dist.sh "ENGINE …" [BUILD_FOLDER]}
build=${2:-build}
arch=$(uname -m)
[ "$arch" = x86_64 ] || { echo "error: make dist knows x86_64 only, this is $arch" >&2; exit 3; }
[ -x "$build/verge" ] || { echo "error: $build/verge is not built" >&2; exit 3; }
version=$(sed -nE 's/^project\(verge VERSION ([0-9.]+).*/\1/p' CMakeLists.txt)
name=verge-$version-linux-$arch
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/$name
plugins=$root/lib/verge/plugins
mkdir -p "$root"/{bin,libexec,lib/c,lib/systemd/system,share/doc} "$plugins"

gcc -O2 -Wall -Wextra -static -s tools/dist/launcher.c -o "$root/bin/verge"
gcc -O2 -Wall -Wextra -fPIC -shared -fvisibility=hidden tools/dist/bare_root.c -o "$root/lib/bare_root.so"
install -m 755 "$build/verge" "$root/libexec/verge"
install -m 644 tools/dist/verge.service "$root/lib/systemd/system/"
install -m 644 tools/dist/README.md LICENSE "$root/"

# Beside the libraries that a descriptor names, an engine opens these by name as it runs.
declare -A opened=(
  [openvino]="libopenvino_intel_cpu_plugin.so libopenvino_ir_frontend.so.* libopenvino_onnx_frontend.so.* libopenvino_tensorflow_lite_frontend.so.*"
)
for engine in $engines identity; do
  descriptor=$build/plugins/$engine.engine.json
  [ -f "$descriptor" ] || { echo "error: engine $engine is not built (no $descriptor)" >&2; exit 3; }
  install -m 755 "$build/plugins/libverge_engine_$engine.so" "$plugins/"
  [ ! -d "$build/plugins/check/$engine" ] || { mkdir -p "$plugins/check"; cp -r "$build/plugins/check/$engine" "$plugins/check/"; }
  # The tarball's descriptor looks beside itself only.
  sed -E "s|\"search\": *\[[^]]*\]|\"search\": [\"$engine\"]|" "$descriptor" >"$plugins/$engine.engine.json"
  { grep -oE '"name": *"lib[^"]*", *"search": *\[[^]]*\]' "$descriptor" || true; } | while read -r entry; do
    library=$(sed -E 's/^"name": *"([^"]*)".*/\1/' <<<"$entry")
    found=
    while IFS= read -r folder; do
      [ -f "$folder/$library" ] && found=$folder && break
    done < <(sed -E 's/.*"search": *\[//; s/\]//' <<<"$entry" | tr ',' '\n' | sed -E 's/^ *"//; s/" *$//' | grep '^/')
    [ -n "$found" ] || { echo "error: $library of engine $engine was not found" >&2; exit 3; }
    mkdir -p "$plugins/$engine"
    install -m 755 "$found/$library" "$plugins/$engine/"
    for pattern in ${opened[$engine]:-}; do
      # shellcheck disable=SC2086  # a pattern
      for file in $found/$pattern; do [ ! -f "$file" ] || install -m 755 "$file" "$plugins/$engine/"; done
    done
    # What these need of their neighbours.
    for round in 1 2 3; do
      for file in "$plugins/$engine"/*.so*; do
        for needed in $(objdump -p "$file" | awk '$1 == "NEEDED" {print $2}'); do
          [ -f "$plugins/$engine/$needed" ] || [ ! -f "$found/$needed" ] || install -m 755 "$found/$needed" "$plugins/$engine/"
        done
      done
    done
  done
done

# OpenVINO reads each format through a library of its own. The one for SavedModels is left out for its size: IR, ONNX and TFLite hold the
# same networks.
if [ -f "$plugins/openvino.engine.json" ]; then
  compgen -G "$plugins/openvino/libopenvino_tensorflow_frontend*" >/dev/null || sed -i -E 's/, *"saved_model"//' "$plugins/openvino.engine.json"
fi

# Everything else that any of them needs comes from this machine: the C library and its loader into lib/c, the rest into lib.
is_c_library() { case $1 in ld-linux*|libc.so*|libm.so*|libdl.so*|librt.so*|libpthread.so*|libresolv.so*|libmvec.so*) true;; *) false;; esac; }
add() {
  local library=$1 path=$2
  if is_c_library "$library"; then install -m 755 "$path" "$root/lib/c/$library"; else install -m 755 "$path" "$root/lib/$library"; fi
}
system_libraries=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p)
have() { [ -e "$root/lib/c/$1" ] || [ -e "$root/lib/$1" ] || compgen -G "$plugins/*/$1" >/dev/null; }
while :; do
  missing=$(find "$root" -type f \( -name '*.so*' -o -path '*/libexec/verge' \) -exec objdump -p {} + 2>/dev/null | awk '$1 == "NEEDED" {print $2}' | sort -u)
  added=0
  for library in $missing; do
    have "$library" && continue
    path=$(awk -v l="$library" '$1 == l && /x86-64/ && !seen++ {print $NF}' <<<"$system_libraries")
    [ -n "$path" ] || { echo "error: $library is needed and not on this machine" >&2; exit 3; }
    add "$library" "$path"
    added=1
  done
  [ $added = 1 ] || break
done

find "$root" -type f \( -name '*.so*' -o -path '*/libexec/verge' \) | while read -r file; do
  strip --strip-unneeded "$file"
  case $file in
    "$root"/lib/c/*) continue ;;
    "$root"/libexec/*) path='$ORIGIN/../lib' ;;
    "$root"/lib/verge/plugins/*/*) path='$ORIGIN:$ORIGIN/../../..' ;;
    "$root"/lib/verge/plugins/*) engine=${file##*/libverge_engine_}; path="\$ORIGIN/${engine%.so}:\$ORIGIN/../.." ;;
    *) path='$ORIGIN' ;;
  esac
  patchelf --set-rpath "$path" "$file"
done

# Licences of what others made.
for package in libc6 libstdc++6 libgcc-s1; do
  [ ! -f "/usr/share/doc/$package/copyright" ] || install -D -m 644 "/usr/share/doc/$package/copyright" "$root/share/doc/$package/copyright"
done
declare -A wheel=([openvino]=openvino [litert]=ai_edge_litert [onnxruntime]=onnxruntime [tensorflow]=tensorflow)
for engine in $engines; do
  find .venv/toolchain/lib/python3*/site-packages/"${wheel[$engine]:-$engine}"*.dist-info -iname '*licen[sc]e*' -type f 2>/dev/null | while read -r file; do
    install -D -m 644 "$file" "$root/share/doc/$engine/$(basename "$file")"
  done
done

mkdir -p dist
tarball=dist/$name.tar.xz
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}" -cf - "$name" |
  xz -T0 -4 >"$tarball.part"
mv "$tarball.part" "$tarball"
unpacked=$(du -sb --apparent-size "$root" | cut -f1)
packed=$(stat -c %s "$tarball")
awk -v t="$tarball" -v e="$engines" -v u="$unpacked" -v p="$packed" 'BEGIN {printf "%s: engines %s; %.1f MB unpacked, %.1f MB packed\n", t, e, u/1e6, p/1e6}'
