#!/usr/bin/env bash
# What memory a server takes: at rest, while 64 clients list a million files, with their connections open and idle, and when they have
# gone: the figures of docs/operations.md. Everything is on this machine; three minutes a store, with the default of 60 seconds.
#
#   benches/memory.sh PROGRAM [--files 1000000] [--clients 64] [--wait 60] [--name-bytes 16] [sqlite|postgres ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=$(realpath "${1:?the program, a release build}")
shift
files=1000000 clients=64 wait=60 name_bytes=16 kinds=()
while (($#)); do
    case $1 in
    --files) files=$2 && shift ;;
    --clients) clients=$2 && shift ;;
    --wait) wait=$2 && shift ;;
    --name-bytes) name_bytes=$2 && shift ;;
    sqlite | postgres) kinds+=("$1") ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "benches/memory.sh" >&2 && exit 2 ;;
    esac
    shift
done
if ((${#kinds[@]} == 0)); then kinds=(sqlite postgres); fi
# shellcheck source=tests/lib/postgres.sh
source tests/lib/postgres.sh

work=$(mktemp -d "${TMPDIR:-/var/tmp}/trunkfs-memory.XXXXXX")
chmod 755 "$work"
server=
stop() {
    if [[ -n $server ]]; then kill "$server" && wait "$server" || true; fi
    server=
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

start() {
    TRUNKFS__ADMIN__LISTEN=127.0.0.1:$(free_port) "$program" serve --config "$work/$1.yaml" >"$work/$1.out" 2>"$work/$1.log" </dev/null &
    server=$!
    for _ in {1..600}; do
        grep -qs 'mount -t nfs' "$work/$1.out" && return
        sleep 0.05
    done
    tail -n 5 "$work/$1.log" >&2
    exit 1
}

row() { # row MOMENT: resident memory, its part that is no file's, and the most so far, in MiB
    awk -v kind="$kind" -v moment="$1" '{ kib[$1] = $2 } END {
        printf "| %s | %s | %.1f | %.1f | %.1f |\n", kind, moment, kib["VmRSS:"] / 1024, kib["RssAnon:"] / 1024, kib["VmHWM:"] / 1024
    }' "/proc/$server/status"
}

echo "| store | moment | resident, MiB | of it anonymous | most so far |"
echo "| --- | --- | --- | --- | --- |"
for kind in "${kinds[@]}"; do
    port=$(free_port)
    case $kind in
    sqlite) store="type: sqlite, sqlite: { path: $work/names.db }" ;;
    postgres)
        postgres_require
        PG_DURABLE=1 postgres_start "$work/postgres"
        store="type: postgres, postgres: { host: 127.0.0.1, port: $PG_PORT, database: postgres, user: postgres, auto_migrate: true }"
        ;;
    esac
    mkdir -p "$work/content-$kind"
    cat >"$work/$kind.yaml" <<YAML
server: { listen: "127.0.0.1:$port" }
metadata: { stores: { names: { $store } } }
content: { stores: { disk: { type: filesystem, filesystem: { base_path: $work/content-$kind } } } }
shares:
  - name: /export
    metadata_store: names
    content_store: disk
    root: { mode: "1777" }
    clients: [ { network: 127.0.0.0/8, squash: no_root_squash } ]
YAML
    start "$kind"
    sleep 10
    row "at rest, no files"
    if [[ $kind == sqlite ]]; then
        stop
        python3 benches/tree.py --files "$files" --name-bytes "$name_bytes" |
            "$program" load --config "$work/$kind.yaml" --store names --replace --json - >"$work/load.json"
    else
        # Killed, the generator leaves its files there: about as many, or more.
        timeout -s KILL "$((files / 25000))" "$program" bench "nfs://127.0.0.1:$port/export" --workload create --connections 64 --depth 4 \
            --time 1h >"$work/bench" 2>&1 || true
        stop
    fi
    start "$kind"
    sleep 10
    row "at rest, with files"
    python3 benches/listing.py --address "127.0.0.1:$port" --clients "$clients" --rounds 2 --hold 15 >"$work/listed" &
    listing=$!
    until [[ $(wc -l <"$work/listed") == 2 ]]; do
        kill -0 $listing
        sleep 0.2
    done
    cat "$work/listed" >&2
    row "listed twice by $clients clients"
    wait $listing
    row "15 s later, their connections idle"
    sleep "$wait"
    row "$wait s after they have gone"
    stop
done
