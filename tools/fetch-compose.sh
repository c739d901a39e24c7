#!/bin/sh
# Debian's docker-compose, unpacked (nothing is installed) into the build cache: it says whether a compose file is one.
# Usage: tools/fetch-compose.sh     prints a program that takes docker-compose's arguments. Needs apt-get and python3.
set -eu
cache=$(cd "$(dirname "$0")/.." && pwd -P)/.cache
home=$cache/compose
packages='docker-compose python3-attr python3-cached-property python3-certifi python3-chardet
  python3-charset-normalizer python3-distro python3-distutils python3-docker python3-dockerpty python3-docopt
  python3-dotenv python3-idna python3-jsonschema python3-lib2to3 python3-pkg-resources python3-pyrsistent
  python3-requests python3-six python3-texttable python3-urllib3 python3-websocket python3-yaml'
if [ ! -x "$home/run" ]; then
  mkdir -p "$cache"
  tmp=$(mktemp -d "$cache/tmp.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  trap 'exit 143' INT TERM HUP
  # shellcheck disable=SC2086 # words are package names
  "$(dirname "$0")/unpack-packages.sh" "$tmp/root" $packages
  cat >"$tmp/run" <<RUN
#!/bin/sh
PYTHONPATH=$home/root/usr/lib/python3/dist-packages:$home/root/usr/lib/python3.11
export PYTHONPATH
exec python3 $home/root/usr/bin/docker-compose "\$@"
RUN
  chmod 755 "$tmp" "$tmp/run"
  # two at once: the loser's copy is dropped
  mv -T "$tmp" "$home" 2>/dev/null || [ -x "$home/run" ]
fi
echo "$home/run"
