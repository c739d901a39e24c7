#!/bin/sh
# Runs this release's CLI with what lies beside it; nothing is installed or built. Redis comes from the system.
ROOT=$(dirname "$(readlink -f "$0")")
KVCAPSULE_ADDON=${KVCAPSULE_ADDON:-$ROOT/native/kvcapsule.node}
export KVCAPSULE_ADDON
exec "$ROOT/bin/node" "$ROOT/apps/cli/dist/main.js" "$@"
