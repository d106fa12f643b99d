#!/usr/bin/env bash
# Fetches QEMU and the newest Debian cloud kernels 5.10, 6.1 and 6.12 when they are missing, then runs the kernel tests on
# each. Arguments go to ./bpf/vmtest. Needs root only to install QEMU.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${VM_KERNELS:-.cache/vm}
mkdir -p "$dir"
if ! command -v qemu-system-x86_64 >/dev/null; then
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -y -qq install --no-install-recommends qemu-system-x86 seabios
fi
# unpack PATTERN [apt options]: the newest package that matches, its vmlinuz and a module into the directory
unpack() {
  local pattern=$1 package release tmp
  shift
  package=$(apt-cache "$@" search --names-only "$pattern" | awk '{print $1}' | sort -V | tail -1)
  [ -n "$package" ] || { echo "no package matches $pattern: skipped"; return 0; }
  release=${package#linux-image-}
  [ ! -e "$dir/vmlinuz-$release" ] || [ ! -e "$dir/modules/$release/sunrpc.ko" ] || return 0
  tmp=$(mktemp -d)
  (cd "$tmp" && apt-get "$@" -q download "$package" >/dev/null)
  dpkg-deb --fsys-tarfile "$tmp/$package"_*.deb | tar -x -C "$tmp" --wildcards './boot/vmlinuz-*' '*/net/sunrpc/sunrpc.ko*'
  mv "$tmp"/boot/vmlinuz-* "$dir"
  mkdir -p "$dir/modules/$release"
  find "$tmp/lib" -name 'sunrpc.ko*' -exec mv -t "$dir/modules/$release" {} +
  [ ! -e "$dir/modules/$release/sunrpc.ko.xz" ] || xz -d "$dir/modules/$release/sunrpc.ko.xz"
  rm -rf "$tmp"
}
unpack '^linux-image-6\.1\.0-[0-9]+-cloud-amd64$'
unpack '^linux-image-6\.12\.[0-9]+\+deb12-cloud-amd64$'
if ! ls "$dir"/modules/5.10*/sunrpc.ko >/dev/null 2>&1; then # from the release before, with lists of its own
  lists=$PWD/$dir/apt
  mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
  uri=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -1)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri bullseye main" >"$lists/sources.list"
  opts=(-o "Dir::Etc::sourcelist=$lists/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$lists/lists" -o "Dir::Cache=$lists/cache")
  if apt-get "${opts[@]}" -qq update; then
    unpack '^linux-image-5\.10\.0-[0-9]+-cloud-amd64$' "${opts[@]}"
  else
    echo "5.10 cannot be fetched: skipped"
  fi
fi
exec go run ./bpf/vmtest -kernels "$dir" "$@"
