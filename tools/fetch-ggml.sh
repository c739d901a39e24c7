#!/bin/sh
# Unpacks source of the pinned llama.cpp release and prints its folder: ggml alone, or with --whole all of llama.cpp.
# It travels inside the node-llama-cpp npm package as a git bundle; nothing of that package is run.
# Usage: tools/fetch-ggml.sh [CACHE_DIR [--whole]]      Needs npm, node, git and tar.
set -eu
version=3.22.1
integrity=sha512-bltIipuWmc123H7tMIgDGKSsSrhmhlQYeVUC48XTjVW7XGJJiJJyCdlTMzQ/LiWoPkGDpcL4FviDpgw7qfTiDw==
cache=${1:-$(cd "$(dirname "$0")/.." && pwd)/.cache}
if [ "${2:-}" = --whole ]; then home=$cache/llama.cpp-$version part=; else home=$cache/ggml-$version part=ggml; fi
if [ ! -f "$home/CMakeLists.txt" ]; then
  mkdir -p "$cache"
  tmp=$(mktemp -d "$cache/tmp.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  # a shell that a signal ends leaves its EXIT trap out
  trap 'exit 143' INT TERM HUP
  (cd "$tmp" && npm pack --silent "node-llama-cpp@$version" >/dev/null)
  tgz=$tmp/node-llama-cpp-$version.tgz
  got=$(node -e 'process.stdout.write("sha512-"+require("crypto").createHash("sha512").update(require("fs").readFileSync(process.argv[1])).digest("base64"))' "$tgz")
  [ "$got" = "$integrity" ] || { echo "fetch-ggml: the integrity of node-llama-cpp@$version is wrong" >&2; exit 1; }
  tar -xzf "$tgz" -C "$tmp" package/llama/gitRelease.bundle
  git clone -q -c advice.detachedHead=false "$tmp/package/llama/gitRelease.bundle" "$tmp/llama.cpp"
  cp "$tmp/llama.cpp/LICENSE" "$tmp/llama.cpp/ggml/LICENSE"
  # two at once: the loser's copy is dropped
  mv -T "$tmp/llama.cpp/$part" "$home" 2>/dev/null || [ -f "$home/CMakeLists.txt" ]
fi
echo "$home"
