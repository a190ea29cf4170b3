#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TLS on ingress, admin and towards a deployment, by nothing but the YAML: tls.sh ENGINE. Certificates are made here. TAP output.
set -euo pipefail
engine=${1:-rocksdb}
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD_DIR:-$root/build}
dir=$(mktemp -d)
pids=()
n=0
failed=0

finish() {
    for p in "${pids[@]:-}"; do [ -z "$p" ] || kill "$p" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT

check() { # NAME EXPECTED GOT
    n=$((n + 1))
    if [ "$2" = "$3" ]; then
        echo "ok $n - $1"
    else
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

cd "$dir"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout n.key -out n.csr -subj /CN=localhost 2>/dev/null
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' >ext
openssl x509 -req -in n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out n.pem -days 2 -extfile ext 2>/dev/null

ingress=$(free_port) admin=$(free_port) fabric=$(free_port) service=$(free_port)
cat >node.yaml <<YAML
cluster-name: tls-test
node-name: n1
base-dir: $dir/data
storage: $engine
default-num-partitions: 4
bind-address: 127.0.0.1:$fabric
transport:
  tls: { options: { ca-file: $dir/ca.pem, cert-file: $dir/n.pem, key-file: $dir/n.key, client-auth: none } }
ingress: { bind-address: "tls://127.0.0.1:$ingress" }
admin: { bind-address: "tls://127.0.0.1:$admin" }
worker: { invoker: { transport: { tls: { options: { ca-file: $dir/ca.pem } } } } }
YAML

"$build/bin/restate-server" --check-config -c node.yaml >/dev/null
check "the configuration passes --check-config" 0 $?
"$build/bin/restate-server" --no-logo -c node.yaml 2>server.log &
pids+=($!)
"$build/tests/bench/bench-endpoint" "$service" &
pids+=($!)

get() { curl -s -m 20 --cacert ca.pem -H 'content-type: application/json' "$@"; }
for _ in $(seq 300); do
    [ "$(get "https://localhost:$admin/health" -o /dev/null -w '%{http_code}' || true)" = 200 ] && break
    sleep 0.1
done
check "the admin API answers over TLS and HTTP/2" "200 2" "$(get "https://localhost:$admin/health" -o /dev/null -w '%{http_code} %{http_version}')"
check "a deployment is registered over TLS" 201 \
    "$(get -X POST "https://localhost:$admin/deployments" -d "{\"uri\":\"http://localhost:$service\"}" -o /dev/null -w '%{http_code}')"
check "a call over TLS and HTTP/2 is answered" "1 2" "$(get "https://localhost:$ingress/Counter/a/add" -d 1 -w ' %{http_version}')"
check "a call over TLS and HTTP/1.1 is answered" "2 1.1" "$(get --http1.1 "https://localhost:$ingress/Counter/a/add" -d 1 -w ' %{http_version}')"
check "a client that does not know the CA refuses" 60 "$(curl -s -m 10 "https://localhost:$ingress/restate/health" >/dev/null; echo $?)"
check "plain HTTP is not served there" "" "$(curl -s -m 5 "http://localhost:$ingress/restate/health" || true)"
kill "${pids[0]}"
wait "${pids[0]}" && status=0 || status=$?
check "the server stops cleanly" 0 "$status"
echo "1..$n"
exit $failed
