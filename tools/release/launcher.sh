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
set -- "$ROOT/bin/node" "$ROOT/apps/cli/dist/main.js" "$@"
[ $$ = 1 ] || exec "$@"

# The kernel drops a signal to a container's first process that does not listen for it yet, as a part does not while it loads
# a model: it would be killed after all of its grace. So this shell is first, hands on what asks for an end, and reaps.
part='' ends=''
end() {
  ends=yes
  [ -z "$part" ] || kill -TERM "$part" 2>/dev/null || :
}
trap end TERM INT
# what a shell runs beside itself has no standard input but by another name
exec 3<&0
"$@" <&3 3<&- &
part=$!
[ -z "$ends" ] || end
exec 3<&-
# a trap ends a wait, too
while
  wait "$part" && code=0 || code=$?
  [ "$code" -gt 128 ] && kill -0 "$part" 2>/dev/null
do :; done
exit "$code"
