#!/bin/sh
# Runs this release's CLI with what lies beside it; nothing is installed or built. Redis comes from the system.
ROOT=$(dirname "$(readlink -f "$0")")
KVCAPSULE_ADDON=${KVCAPSULE_ADDON:-$ROOT/native/kvcapsule.node}
export KVCAPSULE_ADDON
# an image has a model of its own for those who name none
if [ -n "${IMAGE_MODEL:-}" ] && [ -z "${KVCAPSULE_MODEL:-}${KVCAPSULE_MODELS:-}${KVCAPSULE_CONFIG:-}" ]; then
  KVCAPSULE_MODEL=$IMAGE_MODEL
  export KVCAPSULE_MODEL
fi
# Node hears a hangup also where nohup has it ignored
case $(sed -n 's/^SigIgn:.*\(.\)$/\1/p' /proc/self/status) in [13579bdf]) export KVCAPSULE_NOHUP=true ;; esac
exec "$ROOT/bin/node" "$ROOT/apps/cli/dist/main.js" "$@"
