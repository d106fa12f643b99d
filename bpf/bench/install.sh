#!/bin/sh
# Installs what the benchmark compares with, where apt can. The benchmark runs without, too.
command -v clang >/dev/null && command -v bpftrace >/dev/null && exit 0
command -v apt-get >/dev/null || exit 0
apt-get install -y clang bpftrace || echo 'not installed: clang, bpftrace; their columns stay empty' >&2
