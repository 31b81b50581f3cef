#!/usr/bin/env bash
# Builds a static binary for x86-64 Linux: it needs no C library of the machine, so it runs on old distributions and in
# empty containers. It leaves out CUDA, whose driver can only be loaded by a dynamic program. Needs
# `rustup target add x86_64-unknown-linux-musl` and musl-gcc (Debian and Ubuntu: musl-tools).
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-musl
CC_x86_64_unknown_linux_musl=${CC_x86_64_unknown_linux_musl:-musl-gcc} \
    cargo build --release --locked -p tabpo --no-default-features --target "$target"
binary=target/$target/release/tabpo
if readelf --dynamic "$binary" | grep -q NEEDED; then
    echo "$binary is not static" >&2
    exit 1
fi
"$binary" --version
echo "$binary"
