#!/bin/sh
# Unpacks the ggml source of the pinned llama.cpp release and prints its folder.
# It travels inside the node-llama-cpp npm package as a git bundle; nothing of that package is run.
# Usage: tools/fetch-ggml.sh [CACHE_DIR]      Needs npm, node, git and tar.
set -eu
version=3.22.1
integrity=sha512-bltIipuWmc123H7tMIgDGKSsSrhmhlQYeVUC48XTjVW7XGJJiJJyCdlTMzQ/LiWoPkGDpcL4FviDpgw7qfTiDw==
cache=${1:-$(cd "$(dirname "$0")/.." && pwd)/.cache}
home=$cache/ggml-$version
if [ ! -f "$home/CMakeLists.txt" ]; then
  mkdir -p "$cache"
  tmp=$(mktemp -d "$cache/tmp.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  (cd "$tmp" && npm pack --silent "node-llama-cpp@$version" >/dev/null)
  tgz=$tmp/node-llama-cpp-$version.tgz
  got=$(node -e 'process.stdout.write("sha512-"+require("crypto").createHash("sha512").update(require("fs").readFileSync(process.argv[1])).digest("base64"))' "$tgz")
  [ "$got" = "$integrity" ] || { echo "fetch-ggml: the integrity of node-llama-cpp@$version is wrong" >&2; exit 1; }
  tar -xzf "$tgz" -C "$tmp" package/llama/gitRelease.bundle
  git clone -q -c advice.detachedHead=false "$tmp/package/llama/gitRelease.bundle" "$tmp/llama.cpp"
  cp "$tmp/llama.cpp/LICENSE" "$tmp/llama.cpp/ggml/LICENSE"
  # two at once: the loser's copy is dropped
  mv -T "$tmp/llama.cpp/ggml" "$home" 2>/dev/null || [ -f "$home/CMakeLists.txt" ]
fi
echo "$home"
