#!/usr/bin/env bash
# What one server, two and four give, with one busy directory and several, and up to 1,000 connections: the rows of docs/sizing.md.
# PostgreSQL (with fsync), servers and load generators share this machine. Three minutes with the default of three seconds.
#
#   benches/sizing.sh PROGRAM [SECONDS]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
program=$(realpath "${1:?the program, a release build}") seconds=${2:-3}
# shellcheck source=tests/lib/postgres.sh
source tests/lib/postgres.sh
ulimit -n "$(ulimit -H -n)" # a thousand connections, of servers and generators
work=$(mktemp -d "${TMPDIR:-/tmp}/trunkfs-sizing.XXXXXX")
chmod 755 "$work"
servers=()

stop() {
    local pid
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${servers[@]}"; do wait "$pid" 2>/dev/null; done
    servers=()
}
# shellcheck disable=SC2317 # called by the trap
finish() {
    stop
    postgres_stop
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start() { # start NUMBER: a server
    cat >"$work/$1.yaml" <<YAML
server: { listen: "127.0.0.1:$((13000 + $1))", max_connections: 4096, max_connections_per_client: 4096 }
admin: { listen: "off" }
metadata:
  stores:
    names: { type: postgres, postgres: { host: 127.0.0.1, port: $PG_PORT, database: postgres, user: postgres, auto_migrate: true } }
content: { stores: { bytes: { type: filesystem, filesystem: { base_path: $work/content } } } }
shares:
  - name: /export
    metadata_store: names
    content_store: bytes
    root: { mode: "1777" }
    clients: [ { network: 127.0.0.0/8, squash: no_root_squash } ]
YAML
    "$program" serve --config "$work/$1.yaml" >"$work/$1.out" 2>"$work/$1.log" </dev/null &
    servers+=($!)
    for _ in {1..400}; do
        grep -q 'mount -t nfs' "$work/$1.out" && return
        sleep 0.05
    done
    tail -n 5 "$work/$1.log" >&2
    exit 1
}

measure() { # measure SERVERS CONNECTIONS DEPTH WORKLOAD: a row
    local number pids=()
    for number in $(seq "$1"); do
        "$program" bench "nfs://127.0.0.1:$((13000 + number))/export" --workload "$4" --connections "$((($2 + $1 - 1) / $1))" --depth "$3" \
            --threads 1 --files 5 --time "${seconds}s" --json >"$work/$number.json" </dev/null &
        pids+=($!)
    done
    wait "${pids[@]}"
    python3 - "$@" "$work"/*.json <<'PYTHON'
import json, sys
servers, connections, depth, workload, *files = sys.argv[1:]
found = [json.load(open(file))["workloads"][0] for file in files]
errors = sum(each["error_count"] for each in found)
p50 = sorted(each["latency_us"]["p50"] for each in found)[len(found) // 2] / 1000
p99 = max(each["latency_us"]["p99"] for each in found) / 1000
rate = sum(each["per_second"] for each in found)
print(f"| {servers} | {connections} × {depth} | {workload} | {rate:,.0f} | {p50:.1f} | {p99:.1f} |" + (f" {errors} errors" if errors else ""), flush=True)
PYTHON
}

mkdir "$work/content"
postgres_require
PG_DURABLE=1 postgres_start "$work/postgres"
echo "| servers | connections × calls in flight | workload | a second | p50, ms | p99, ms |"
echo "| --- | --- | --- | --- | --- | --- |"
for count in 1 2 4; do
    for number in $(seq "$count"); do start "$number"; done
    sleep 2
    for point in "1 64" "8 8" "240 1" "1000 1"; do
        # Each server has a directory of its own at least.
        [[ $point == "1 64" ]] && point="$count $((64 / count))"
        for workload in lookup create; do
            # shellcheck disable=SC2086 # two words
            measure "$count" $point "$workload"
        done
    done
    stop
done
