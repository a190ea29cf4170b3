#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# namespaces.sh N COMMAND.. : runs COMMAND in a network of its own with N hosts: node1 .. nodeN (10.77.0.1 ..), each a network
# namespace of that name, and `app` (10.77.0.254), where COMMAND itself runs. Needs root. Nothing of it outlives the command:
# the namespaces live in a mount namespace that ends with it.
set -euo pipefail
if [ "${1:-}" = inside ]; then
    n=$2
    shift 2
    mount --make-rprivate /
    mkdir -p /run/netns
    mount -t tmpfs tmpfs /run/netns
    ip link set lo up
    ip link add br0 type bridge
    ip addr add 10.77.0.254/24 dev br0
    ip link set br0 up
    hosts=$(mktemp)
    { echo "127.0.0.1 localhost"; echo "10.77.0.254 app"; } >"$hosts"
    for ((i = 1; i <= n; i++)); do
        ip netns add "node$i"
        ip link add "v$i" type veth peer name eth0 netns "node$i"
        ip link set "v$i" master br0 up
        ip -n "node$i" addr add "10.77.0.$i/24" dev eth0
        ip -n "node$i" link set eth0 up
        ip -n "node$i" link set lo up
        echo "10.77.0.$i node$i" >>"$hosts"
    done
    mount --bind "$hosts" /etc/hosts
    rm -f "$hosts"
    exec "$@"
fi
exec unshare --net --mount --propagation private "$0" inside "$@"
