#!/bin/sh
# Installs or replaces Axoneme's programs and units on this machine; configuration that is there stays.
# --root DIR: below a directory, and without systemd (for packages and images).
set -eu
root=
if [ "${1:-}" = --root ]; then root=${2:?--root needs a directory}; elif [ $# -gt 0 ]; then echo "usage: install.sh [--root DIR]" >&2; exit 2; fi
[ -n "$root" ] || [ "$(id -u)" = 0 ] || { echo "install: run as root" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
LD_LIBRARY_PATH=$here/lib "$here/bin/node" --version >/dev/null ||
  { echo "install: the programs do not run here: glibc 2.36 or later is needed (Debian 12, Ubuntu 23.04)" >&2; exit 1; }

# Beside the old ones and renamed: running programs keep the files that they have.
home=$root/usr/lib/axoneme
mkdir -p "$root/usr/lib" "$root/usr/bin" "$root/etc/axoneme" "$root/etc/systemd/system"
rm -rf "$home.new" "$home.old"
mkdir "$home.new"
for part in bin build dist lib share package.json; do cp -R "$here/$part" "$home.new/"; done
[ ! -e "$home" ] || mv "$home" "$home.old"
mv "$home.new" "$home"
rm -rf "$home.old"
cp "$here/axon" "$root/usr/bin/axon"
cp "$here/systemd/"*.service "$root/etc/systemd/system/"
if [ ! -e "$root/etc/axoneme/agent.yaml" ]; then
  cp "$here/systemd/agent.yaml" "$root/etc/axoneme/agent.yaml"
  chmod 600 "$root/etc/axoneme/agent.yaml"
fi
[ -z "$root" ] || exit 0
systemctl daemon-reload
echo "install: write /etc/axoneme/kubeconfig and /etc/axoneme/agent.yaml, then: systemctl enable --now axoneme-agent"
