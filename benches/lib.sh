# Servers to be measured: sourced by benches/report.sh and benches/compare.sh, which have `set -euo pipefail`.
#
#   serve_start NAME PROGRAM KIND   start PROGRAM on stores of KIND (sqlite or postgres); sets URL[NAME]
#   ganesha_start NAME              start NFS-Ganesha on a folder; sets URL[NAME]; status 1: it is not there
#   serve_stop                      stop all of them, and PostgreSQL
#
# All of it is below $work, which the script sets to a folder on the disk that is to be measured.
#
# shellcheck shell=bash disable=SC2154
# shellcheck source=tests/lib/postgres.sh
source tests/lib/postgres.sh

declare -gA URL=()
serve_pids=()

# The last process that was started answers on a port.
wait_for_port() {
    local port=$1 log=$2
    for _ in {1..600}; do
        (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
        if ! kill -0 "${serve_pids[-1]}" 2>/dev/null; then break; fi
        sleep 0.1
    done
    echo "no server on port $port; the end of its log:" >&2
    tail -n 20 "$log" >&2
    return 1
}

serve_start() {
    local name=$1 program=$2 kind=$3 folder port store
    folder=$work/$name
    port=$(free_port)
    mkdir -p "$folder/content"
    case $kind in
    sqlite) store="type: sqlite, sqlite: { path: $folder/names.db }" ;;
    postgres)
        if [[ -z ${PG_PID:-} ]]; then
            postgres_require
            PG_DURABLE=1 postgres_start "$work/postgres"
        fi
        postgres_sql "CREATE DATABASE \"trunkfs_$name\""
        store="type: postgres, postgres: { host: 127.0.0.1, port: $PG_PORT, database: \"trunkfs_$name\", user: postgres, auto_migrate: true }"
        ;;
    *) echo "no such kind of store: $kind" >&2 && return 1 ;;
    esac
    cat >"$folder/bench.yaml" <<YAML
server: { listen: "127.0.0.1:$port" }
metadata: { stores: { names: { $store } } }
content: { stores: { disk: { type: filesystem, filesystem: { base_path: $folder/content } } } }
shares:
  - name: /export
    metadata_store: names
    content_store: disk
    root: { mode: "1777" }
    clients: [ { network: 127.0.0.0/8, squash: no_root_squash } ]
YAML
    # Several servers at once; an earlier program has no such key.
    if TRUNKFS__ADMIN__LISTEN=off "$program" check-config --config "$folder/bench.yaml" >/dev/null 2>&1; then
        export TRUNKFS__ADMIN__LISTEN=off
    else
        unset TRUNKFS__ADMIN__LISTEN
    fi
    "$program" serve --config "$folder/bench.yaml" >"$folder/log" 2>&1 </dev/null &
    serve_pids+=($!)
    wait_for_port "$port" "$folder/log"
    URL[$name]=nfs://127.0.0.1:$port/export
}

# Ganesha registers its programs with rpcbind, which only root starts.
ganesha_start() {
    local name=$1 folder port mount
    if ((EUID != 0)) || ! command -v ganesha.nfsd >/dev/null; then
        return 1
    fi
    if ! rpcinfo -p 127.0.0.1 >/dev/null 2>&1; then
        mkdir -p /run/rpcbind
        rpcbind -w -f </dev/null >/dev/null 2>&1 &
        serve_pids+=($!)
        sleep 1
    fi
    folder=$work/$name port=$(free_port) mount=$(free_port)
    mkdir -p "$folder/export" /var/run/ganesha /var/lib/nfs/ganesha
    chmod 1777 "$folder/export"
    cat >"$folder/ganesha.conf" <<CONF
NFS_CORE_PARAM {
    NFS_Port = $port;
    MNT_Port = $mount;
    Protocols = 3;
    Enable_NLM = false;
    Enable_RQUOTA = false;
}
EXPORT {
    Export_Id = 1;
    Path = $folder/export;
    Pseudo = /export;
    Protocols = 3;
    Transports = TCP;
    Access_Type = RW;
    Squash = No_Root_Squash;
    SecType = sys;
    FSAL { Name = VFS; }
}
CONF
    ganesha.nfsd -F -f "$folder/ganesha.conf" -L "$folder/log" -p "$folder/pid" >"$folder/out" 2>&1 </dev/null &
    serve_pids+=($!)
    wait_for_port "$port" "$folder/log" || return 1
    # shellcheck disable=SC2034 # read by those who source this
    URL[$name]=nfs://127.0.0.1:$port$folder/export GANESHA_MOUNT_PORT=$mount
}

serve_stop() {
    local pid
    for pid in "${serve_pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${serve_pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    serve_pids=()
    postgres_stop
}
