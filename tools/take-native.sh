#!/bin/sh
# Takes the native engine out of a release archive where one holds what this checkout's sources make: the archive that
# KVCAPSULE_RELEASE names, or any in release/. Prints which it took. Exits with 0 when .cache/native/kvcapsule.node is that
# engine, with 1 when it has to be built, and with 2, saying why, when an archive that should be taken cannot be.
set -eu
ROOT=$(cd "$(dirname "$0")/.." && pwd -P)
folder=$ROOT/.cache/native
key=$("$ROOT/tools/native-key.sh")
if [ "$(cat "$folder/taken" 2>/dev/null)" = "$key" ] && [ -f "$folder/kvcapsule.node" ]; then exit 0; fi

refuse() {
  echo "The release $1 $2." >&2
  exit 2
}

# member ARCHIVE FILE: native/ comes first in an archive, so tar has not to read on
member() { tar -xzOf "$1" --wildcards --occurrence=1 "*/native/$2" 2>/dev/null; }

# checked ARCHIVE: its checksum lies beside it
checked() {
  [ -f "$1.sha256" ] || refuse "$1" "has no checksum beside it ($1.sha256)"
  (cd "$(dirname "$1")" && sha256sum --status -c "$(basename "$1").sha256") || refuse "$1" 'is damaged: its checksum is another'
}

take() {
  mkdir -p "$folder"
  fresh=$(mktemp -d "$folder/take.XXXXXX")
  trap 'rm -rf "$fresh"' EXIT
  trap 'exit 143' INT TERM HUP
  tar -xzf "$1" -C "$fresh" --strip-components=2 --wildcards '*/native/*'
  rm -f "$folder/taken"
  # renamed into place: nobody ever loads half a file
  for file in "$fresh"/*.so.* "$fresh/kvcapsule.node"; do mv "$file" "$folder/"; done
  echo "$key" >"$fresh/taken"
  mv "$fresh/taken" "$folder/taken"
}

if [ -n "${KVCAPSULE_RELEASE:-}" ]; then
  [ -f "$KVCAPSULE_RELEASE" ] || refuse "$KVCAPSULE_RELEASE" 'that KVCAPSULE_RELEASE names is not there'
  set -- "$KVCAPSULE_RELEASE"
else
  set -- "$ROOT"/release/kvcapsule-*.tar.gz
fi
for archive; do
  [ -f "$archive" ] || continue
  [ "$(member "$archive" key)" = "$key" ] || continue
  checked "$archive"
  take "$archive"
  echo "$archive"
  exit 0
done
exit 1
