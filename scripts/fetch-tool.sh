#!/usr/bin/env bash
# fetch-tool.sh PACKAGE: unpacks a Debian package into build/tools/PACKAGE, for tests. Not installed: installing some of
# them (prometheus) would start a daemon on the machine.
set -euo pipefail
cd "$(dirname "$0")/.."

package=$1
target=build/tools/$package
[ -f "$target/.complete" ] && exit 0
echo "setup: fetching $package"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt drops privileges for downloads, and then has to be able to write there.
chmod 755 "$work"
if ! (cd "$work" && apt-get download -qq "$package" >apt.log 2>&1); then
  apt-get update -qq
  (cd "$work" && apt-get download -qq "$package" >apt.log 2>&1) || { cat "$work/apt.log" >&2; exit 1; }
fi
rm -rf "$target"
mkdir -p "$target"
dpkg-deb -x "$work"/*.deb "$target"
touch "$target/.complete"
