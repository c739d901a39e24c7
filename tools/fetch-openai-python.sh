#!/bin/sh
# OpenAI's Python SDK, pinned, in a virtual environment in the build cache, for tests. Prints that environment's python.
# Usage: tools/fetch-openai-python.sh     Needs python3 with venv.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
home=$root/.cache/openai-python
if [ ! -f "$home/ready" ]; then
  mkdir -p "$root/.cache"
  # an environment knows its own path, so it is made in place; the second caller waits
  exec 9>"$home.lock"
  flock 9
  if [ ! -f "$home/ready" ]; then
    rm -rf "$home"
    python3 -m venv "$home" >&2
    "$home/bin/python" -m pip install -q --disable-pip-version-check -r "$root/e2e/python/requirements.txt" >&2
    touch "$home/ready"
  fi
fi
echo "$home/bin/python"
