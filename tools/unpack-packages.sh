#!/bin/sh
# Unpacks Debian packages into a new folder; nothing is installed, and no service starts.
# Usage: tools/unpack-packages.sh FOLDER PACKAGE...      Needs apt-get and dpkg.
# FOLDER is there whole or not at all; where it is there already it stays. A machine whose lists of packages are missing
# or older than its mirror has them fetched anew, which takes root.
set -eu
folder=$1
shift
[ ! -d "$folder" ] || exit 0
mkdir -p "$(dirname "$folder")"
tmp=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
# a shell that a signal ends leaves its EXIT trap out
trap 'exit 143' INT TERM HUP
mkdir "$tmp/packages" "$tmp/root"
chmod 755 "$tmp" "$tmp/root"

download() { (cd "$tmp/packages" && apt-get download -qq "$@" >"$tmp/log" 2>&1); }
update() { apt-get -qq -o DPkg::Lock::Timeout=300 update >"$tmp/log" 2>&1; }
# a mirror that stumbles answers a moment later
download "$@" || { update || sleep 5; download "$@"; } || {
  echo "unpack-packages: these cannot be fetched: $*" >&2
  tail -n 5 "$tmp/log" >&2
  exit 1
}
for package in "$tmp"/packages/*.deb; do dpkg -x "$package" "$tmp/root"; done
# two at once: the loser's copy is dropped
mv -T "$tmp/root" "$folder" 2>/dev/null || [ -d "$folder" ]
