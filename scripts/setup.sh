#!/usr/bin/env bash
# Installs what is missing on a Debian 12 machine with Node 20: Debian packages, then npm packages.
# Quiet and quick when nothing is missing. Called by every make target; arguments are Debian packages wanted besides.
set -euo pipefail
cd "$(dirname "$0")/.."

need=()
have() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }
for package in gcc libc6-dev make clang-19 libbpf-dev libelf-dev zlib1g-dev iproute2 iputils-ping openssl procps util-linux containernetworking-plugins "$@"; do
  have "$package" || need+=("$package")
done
command -v kubectl >/dev/null || need+=(kubernetes-client)

if [ "${#need[@]}" -gt 0 ]; then
  [ "$(id -u)" = 0 ] || { echo "setup: run as root to install: ${need[*]}" >&2; exit 1; }
  echo "setup: installing Debian packages: ${need[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${need[@]}" >/tmp/axoneme-apt.log 2>&1 ||
    { tail -20 /tmp/axoneme-apt.log >&2; exit 1; }
fi

major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 20 ] || { echo "setup: Node 20 or later is needed, found $(node --version)" >&2; exit 1; }

if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  echo "setup: installing npm packages"
  # Not `npm ci`: it refuses a lock file without the optional packages of every platform, which registries that
  # mirror only some platforms cannot give. Versions are pinned exactly, and the lock file is not written.
  npm install --no-save --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi
