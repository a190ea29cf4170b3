#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs into a scratch directory and builds both templates there as a third party would: with nothing but restate-plugin.pc
# and what it points to. Then the installed kit loads what came out.
# usage: out_of_tree.sh BUILD_DIR CHECK_PROGRAM
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
meson install -C "$1" --no-rebuild --destdir "$scratch/root" >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
pc=$(find "$scratch/root" -name restate-plugin.pc)
export PKG_CONFIG_PATH="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$scratch/root"
for name in storage-memory transport-loopback; do
    from=$(find "$scratch/root" -type d -path "*/template/$name")
    cp -r "$from" "$scratch/$name"
    # the prefix of the .pc is where it will be, not the scratch directory: variables need it put in front
    helper=$(pkg-config --variable=helperdir restate-plugin)
    case $helper in "$scratch"*) ;; *) helper=$scratch/root$helper ;; esac
    sed -i "s|restate.get_variable('helperdir')|'$helper'|" "$scratch/$name/meson.build"
    meson setup "$scratch/$name/build" "$scratch/$name" >"$scratch/log" 2>&1 && ninja -C "$scratch/$name/build" >>"$scratch/log" 2>&1 ||
        { cat "$scratch/log"; exit 1; }
    "$2" "$scratch/$name/build/$name.so" --suite load --suite config
done
