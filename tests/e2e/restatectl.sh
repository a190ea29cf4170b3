#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# restatectl against three nodes as processes: founding, looking, changing, a lost quorum and its return, TLS. TAP output.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD_DIR:-$root/build}
engine=${1:-lmdb}
dir=$(mktemp -d)
declare -A pids
n=0
failed=0

finish() {
    for p in "${pids[@]:-}"; do [ -z "$p" ] || kill -9 "$p" 2>/dev/null || true; done
    wait 2>/dev/null || true
    [ "$failed" = 0 ] || tail -n 20 "$dir"/n*.log
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

contains() { # NAME TEXT GOT
    case $3 in
    *"$2"*) check "$1" yes yes ;;
    *) check "$1" "...$2..." "$3" ;;
    esac
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

ports=(0 "$(free_port)" "$(free_port)" "$(free_port)")
tls=$(free_port)
addresses="[\"http://127.0.0.1:${ports[1]}\", \"http://127.0.0.1:${ports[2]}\", \"http://127.0.0.1:${ports[3]}\"]"
for i in 1 2 3; do
    extra=""
    [ $i != 1 ] || extra=", \"tls://127.0.0.1:$tls\""
    cat >n$i.yaml <<YAML
cluster-name: ctl-test
node-name: n$i
force-node-id: $i
base-dir: $dir/data
storage: $engine
default-num-partitions: 24
auto-provision: false
bind-address: ["tcp://127.0.0.1:${ports[$i]}"$extra]
advertised-address: http://127.0.0.1:${ports[$i]}
metadata-client: { addresses: $addresses }
transport:
  tls: { options: { ca-file: $dir/ca.pem, cert-file: $dir/n.pem, key-file: $dir/n.key, client-auth: require } }
ingress: { bind-address: "127.0.0.1:$(free_port)" }
admin: { bind-address: "127.0.0.1:$(free_port)" }
YAML
done
start() {
    "$build/bin/restate-server" --no-logo -c n$1.yaml 2>>n$1.log &
    pids[$1]=$!
}
lose() {
    kill -9 "${pids[$1]}"
    wait "${pids[$1]}" 2>/dev/null || true
    pids[$1]=""
}
unset CI
ctl() { # NODE words: a command through that node, at most 20 s
    local at=$1
    shift
    timeout 20 "$build/bin/restatectl" -s "http://127.0.0.1:${ports[$at]}" "$@" </dev/null
}
field() { # NODE PYTHON-EXPRESSION over s, the status
    ctl "$1" status --json 2>/dev/null | python3 -c "import json,sys; s=json.load(sys.stdin); print($2)" 2>/dev/null || echo none
}
await() { # NODE EXPRESSION EXPECTED SECONDS
    local i
    for ((i = 0; i < $4 * 5; i++)); do
        [ "$(field "$1" "$2")" != "$3" ] || return 0
        sleep 0.2
    done
}
exit_of() { "$@" >/dev/null 2>&1 && echo 0 || echo $?; }

# ---- founding ----

start 1
for _ in $(seq 100); do
    [ "$(exit_of ctl 1 provision --num-partitions 3)" = 0 ] && break
    contains_plan=$(ctl 1 provision --num-partitions 3 2>/dev/null || true)
    [ -z "$contains_plan" ] || break
    sleep 0.1
done
contains "what provisioning would do is shown" "Number of partitions: 3" "$contains_plan"
contains "without a terminal nobody says yes" "User aborted" "$(ctl 1 provision --num-partitions 3 2>&1 || true)"
contains "a node without a cluster is listed" "Awaiting provisioning" "$(ctl 1 status 2>/dev/null || true)"
check "its status fails" 1 "$(exit_of ctl 1 status)"
contains "and says what to do" "restatectl provision" "$(ctl 1 status 2>&1 || true)"
contains "the cluster is founded" "successfully provisioned" "$(ctl 1 provision --num-partitions 3 --log-replication 1 --yes)"
contains "once" "already" "$(ctl 1 provision --yes)"
start 2
start 3
whole='[len([x for x in s["nodes"] if x["alive"]]), s["stalled"], len(s["metadata_servers"]), len([p for p in s["partitions"] if p["status"] == "Active"])]'
await 1 "$whole" "[3, False, 3, 9]" 20
check "three nodes, each partition on each of them" "[3, False, 3, 9]" "$(field 1 "$whole")"

# ---- looking ----

out=$(ctl 2 status)
contains "status has the columns of the reference" \
    "NODE-ID  NAME  UPTIME  METADATA  LEADER  FOLLOWER  NODESET-MEMBER  SEQUENCER  ROLES" "${out//UPTIME */UPTIME  METADATA  LEADER  FOLLOWER  NODESET-MEMBER  SEQUENCER  ROLES}"
contains "and the partitions" "Alive partition processors (nodes config v" "$out"
check "every partition has one leader" "[0, 1, 2]" "$(field 2 'sorted(p["id"] for p in s["partitions"] if p["mode"] == "Leader")')"
check "nothing is wrong" "[]" "$(field 3 's["problems"]')"
check "nodes list" "3 n1 n2 n3" "$(ctl 3 nodes list --json | python3 -c 'import json,sys; v=json.load(sys.stdin)["nodes"]; print(len(v), *[x["name"] for x in v])')"
for command in "status --extra" "nodes list --extra" "partitions list --sort node" "logs list" "logs describe 0 --extra" "logs find-tail 0-2" \
    "config get" "metadata-server list-servers" "metadata list-keys" "metadata get nodes_config" "partitions placement show" \
    "partitions leadership show" "replicated-loglet list-servers" "replicated-loglet info 0_0" "replicated-loglet digest 0_0"; do
    # shellcheck disable=SC2086
    check "$command" 0 "$(exit_of ctl 2 $command)"
done

# ---- changing ----

check "config set asks, and nobody answers" 1 "$(exit_of ctl 2 config set --log-replication 2)"
contains "it shows what would change" " + ├ Log replication: {node: 2}" "$(ctl 2 config set --log-replication 2 2>/dev/null || true)"
contains "config set --yes" "Configuration updated" "$(ctl 2 config set --log-replication 2 --yes)"
contains "config get shows it, at another node" "Log replication: {node: 2}" "$(ctl 3 config get)"
contains "again there is nothing to change" "No changes" "$(ctl 2 config set --log-replication 2 --yes)"
check "the number of partitions stays" 1 "$(exit_of ctl 2 config set --num-partitions 5 --yes)"
check "an impossible replication" 1 "$(exit_of ctl 2 config set --log-replication '{node: 0}' --yes)"
await 2 '{l["replication"] for l in s["logs"]}' "{'{node: 2}'}" 10
check "the leaders follow: every log has two copies" "{'{node: 2}'}" "$(field 2 '{l["replication"] for l in s["logs"]}')"
contains "a new segment on demand" "has been reconfigured" "$(ctl 2 logs reconfigure 1)"
contains "a pinned leader" "pinned" "$(ctl 2 partitions leadership pin 0 --node N3)"
await 2 '[p["node"] for p in s["partitions"] if p["id"] == 0 and p["mode"] == "Leader"]' "['N3:1']" 10
check "leads" "['N3:1']" "$(field 2 '[p["node"] for p in s["partitions"] if p["id"] == 0 and p["mode"] == "Leader"]')"
check "unpin" 0 "$(exit_of ctl 2 partitions leadership unpin 0)"
check "a patch that fails its test" 1 "$(exit_of ctl 2 metadata patch -k partition_table -p '[{"op":"test","path":"/version","value":99}]')"
check "a value that no node could read" 1 "$(exit_of ctl 2 metadata patch -k partition_table -p '[{"op":"replace","path":"/replication","value":7}]')"
check "a node that is needed is not removed" 1 "$(exit_of ctl 2 nodes remove N3 --yes)"
check "a member leaves the metadata group" 0 "$(exit_of ctl 1 metadata-server remove-node N3)"
check "and comes back" 0 "$(exit_of ctl 1 metadata-server add-node N3)"
contains "no snapshots without a destination, and it says so" "no snapshot repository" "$(ctl 1 snapshots create 0 2>&1 || true)"

# ---- usage ----

check "no such command" 2 "$(exit_of ctl 1 nosuch)"
check "no such option" 2 "$(exit_of ctl 1 status --nosuch)"
check "help" 0 "$(exit_of ctl 1 help logs)"
check "nobody at the address" 1 "$(exit_of "$build/bin/restatectl" -s http://127.0.0.1:1 status)"

# ---- TLS ----

secure() { timeout 20 "$build/bin/restatectl" -S "https://localhost:$tls" "$@"; }
check "over TLS, with a certificate" 0 "$(exit_of secure --tls-ca ca.pem --tls-cert n.pem --tls-key n.key status)"
check "without one the node refuses" 1 "$(exit_of secure --tls-ca ca.pem status)"
check "a node that the CA does not vouch for" 1 "$(exit_of secure status)"

# ---- losing nodes ----

lose 3
await 2 '[x["node_id"] for x in s["nodes"] if not x["alive"]]' "['N3']" 10
check "a dead node" "['N3']" "$(field 2 '[x["node_id"] for x in s["nodes"] if not x["alive"]]')"
contains "is offline" "offline" "$(ctl 2 status)"
contains "and the metadata is at risk" "quorum at risk, 2 of 3" "$(ctl 2 status 2>&1 >/dev/null)"
await 2 's["stalled"]' False 10
check "two of three go on" False "$(field 2 's["stalled"]')"
lose 2
await 1 's["stalled"]' True 10
check "one of three does not" True "$(field 1 's["stalled"]')"
check "status still answers" 0 "$(exit_of ctl 1 status)"
notes=$(ctl 1 status 2>&1 >/dev/null)
contains "why: metadata" "metadata: no quorum, 1 of 3 members alive" "$notes"
contains "why: logs" "no write quorum" "$notes"
contains "why: nodes" "node N2 (n2) is dead" "$notes"
check "what needs a quorum fails, in time" 1 "$(exit_of ctl 1 config set --log-replication 1 --yes)"
contains "the configuration can be read" "Log replication: {node: 2}" "$(ctl 1 config get)"
start 2
start 3
await 1 "$whole" "[3, False, 3, 9]" 20
check "the cluster is whole again" "[3, False, 3, 9]" "$(field 1 "$whole")"

for i in 1 2 3; do
    kill "${pids[$i]}"
    wait "${pids[$i]}" && status=0 || status=$?
    pids[$i]=""
    check "node $i stops cleanly" 0 "$status"
done
echo "1..$n"
exit $failed
