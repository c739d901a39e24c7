#!/bin/sh
# Prints the name of the native build that this checkout's sources make: 32 digits over all that they are and the
# platform. The compiler is no part of it, so that a machine without one knows what to look for in a release.
set -eu
cd "$(dirname "$0")/.."
LC_ALL=C
export LC_ALL
{
  uname -sm
  find native/CMakeLists.txt native/src native/addon native/include -type f \
    \( -name '*.h' -o -name '*.cc' -o -name '*.txt' -o -name '*.cmake' \) -print0 | sort -z | xargs -0 sha256sum
  sha256sum tools/fetch-ggml.sh tools/build-native.mjs
  grep '"node-addon-api":' libs/engine/package.json
} | sha256sum | cut -c 1-32
