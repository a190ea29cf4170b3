#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --convert-store moves a stopped node from engine to engine and back; counters and the deployment stay. TAP output.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD_DIR:-$root/build}
dir=$(mktemp -d)
n=0 failed=0 server="" service=""

finish() {
    for p in $server $service; do kill "$p" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT

check() { # NAME EXPECTED GOT
    n=$((n + 1))
    if [ "$2" = "$3" ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1: expected '$2', got '$3'"
        failed=1
    fi
}

free_port() {
    local p
    while :; do
        p=$((12000 + RANDOM % 18000))
        (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }
    done
}

ingress=$(free_port) admin=$(free_port) fabric=$(free_port) port=$(free_port)
node() { # LOG META DATA [arguments]: one engine per store
    local log=$1 meta=$2 data=$3
    shift 3
    RESTATE_NODE_NAME=n1 RESTATE_BASE_DIR=$dir/data RESTATE_BIND_IP=127.0.0.1 RESTATE_BIND_PORT=$fabric \
        RESTATE_ADMIN__BIND_PORT=$admin RESTATE_INGRESS__BIND_PORT=$ingress RESTATE_LISTEN_MODE=tcp RESTATE_DEFAULT_NUM_PARTITIONS=4 \
        RESTATE_STORAGE__LOG__PLUGIN=$log RESTATE_STORAGE__META__PLUGIN=$meta RESTATE_STORAGE__DATA__PLUGIN=$data \
        RESTATE_STORAGE__DATA__STORES=2 RESTATE_LOG_FILTER=error exec "$build/bin/restate-server" --no-logo "$@"
}
start() {
    node "$@" 2>>"$dir/server.log" &
    server=$!
    for _ in $(seq 300); do
        curl -s -m 5 -o /dev/null "http://127.0.0.1:$admin/health" && return
        sleep 0.1
    done
}
stop() {
    kill "$server"
    wait "$server" || true
    server=""
}
add() { curl -s -m 20 "http://127.0.0.1:$ingress/Counter/$1/add" -H 'content-type: application/json' -d 1; }

"$build/tests/bench/bench-endpoint" "$port" &
service=$!
start rocksdb rocksdb rocksdb
curl -s -o /dev/null "http://127.0.0.1:$admin/deployments" -H 'content-type: application/json' -d "{\"uri\":\"http://127.0.0.1:$port\"}"
for k in a b c d e f; do add "$k" >/dev/null; done
check "a running node refuses" 1 "$( (node rocksdb rocksdb rocksdb --convert-store data=lmdb) >/dev/null 2>&1; echo $?)"
stop
check "another engine without conversion is refused" 1 "$( (node rocksdb rocksdb lmdb) >/dev/null 2>&1; echo $?)"
check "an unknown store is refused" 1 "$( (node rocksdb rocksdb rocksdb --convert-store x=lmdb) >/dev/null 2>&1; echo $?)"
check "an unknown plugin is refused" 1 "$( (node rocksdb rocksdb rocksdb --convert-store data=zzz) >/dev/null 2>&1; echo $?)"
for s in data log meta; do
    check "store $s moves to lmdb" 0 "$( (node rocksdb rocksdb rocksdb --convert-store $s=lmdb) >>"$dir/server.log" 2>&1; echo $?)"
done
start lmdb lmdb lmdb
check "the counters are there" "2 2 2 2 2 2" "$(for k in a b c d e f; do printf '%s ' "$(add $k)"; done | sed 's/ $//')"
stop
check "store data moves back" 0 "$( (node lmdb lmdb lmdb --convert-store data=rocksdb) >>"$dir/server.log" 2>&1; echo $?)"
mv "$dir/data/n1/data-1" "$dir/data/n1/data-1.rocksdb"
check "a conversion that was cut short is not started over empty" 1 "$( (node lmdb lmdb rocksdb) >/dev/null 2>&1; echo $?)"
mv "$dir/data/n1/data-1.rocksdb" "$dir/data/n1/data-1"
start lmdb lmdb rocksdb
check "engines mix, the counters are there" "3 3" "$(add a) $(add f)"
stop
[ $failed = 0 ] || tail -5 "$dir/server.log"
echo "1..$n"
exit $failed
