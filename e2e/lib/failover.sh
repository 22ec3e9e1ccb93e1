# Two servers, each in a network of its own, an address that moves between them, a balancer before both, and a database with a
# standby: for the suite failover. All of it is on one bridge with the client's tap.
# shellcheck shell=bash

FAILOVER_BRIDGE='' FAILOVER_ACTIVE=1 BALANCER_PID=''
# What the suite mounts through the balancer: options and source.
BALANCED=''
NODE_SPACE=() NODE_PID=() CLUSTER_PID=() CLUSTER_PORT=() PRIMARY=1
FAILOVER_PORT=12049 BALANCER_PORT=12050

# failover_address NUMBER: an address of this run's network. 11 and 12 are the servers', 50 moves.
failover_address() {
    echo "${HOST_ADDRESS%.1}.$1"
}

failover_start() {
    failover_network && clusters_start && failover_configure || return 1
    failover_move 1 || return 1
    # Together: neither is alone with the database.
    node_start 1 && node_start 2 && node_ready 1 && node_ready 2 || return 1
    python3 "$REPO/e2e/lib/balancer.py" "$HOST_ADDRESS:$BALANCER_PORT" \
        "$(failover_address 11):$FAILOVER_PORT" "$(failover_address 12):$FAILOVER_PORT" >>"$LOGS/balancer.log" 2>&1 </dev/null &
    BALANCER_PID=$!
    local options=vers=3,proto=tcp,mountproto=tcp,nolock,hard
    MOUNT_OPTIONS=$options,port=$FAILOVER_PORT,mountport=$FAILOVER_PORT MOUNT_SOURCE=$(failover_address 50):/export
    BALANCED="$options,nconnect=4,port=$BALANCER_PORT,mountport=$BALANCER_PORT $HOST_ADDRESS:/export"
}

failover_stop() {
    local node status=0
    for node in 1 2; do node_stop "$node" || status=1; done
    return "$status"
}

# However the run ends.
failover_drop() {
    local node pid
    for pid in "$BALANCER_PID" "${NODE_PID[@]}" "${NODE_SPACE[@]}"; do
        if [[ -n $pid ]]; then kill -KILL "$pid" 2>/dev/null || true; fi
    done
    for node in 1 2; do cluster_stop "$node"; done
    if [[ -n $FAILOVER_BRIDGE ]]; then
        ip link del "$FAILOVER_BRIDGE" 2>/dev/null || true
        for node in 1 3; do ip address add "$(failover_address "$node")/24" dev "$TAP" 2>/dev/null || true; done
    fi
    FAILOVER_BRIDGE='' BALANCER_PID='' NODE_SPACE=() NODE_PID=()
}

# The bridge takes the tap's address.
failover_network() {
    FAILOVER_BRIDGE=b$TAP
    ip address flush dev "$TAP" && ip link add "$FAILOVER_BRIDGE" type bridge && ip link set "$TAP" master "$FAILOVER_BRIDGE" &&
        ip address add "$HOST_ADDRESS/24" dev "$FAILOVER_BRIDGE" && ip link set "$FAILOVER_BRIDGE" up || return 1
    local node
    for node in 1 2; do
        unshare --net sleep infinity &
        NODE_SPACE[node]=$!
        local end=n$node$TAP
        # Until unshare has made the network, it would be this one's.
        until [[ $(readlink "/proc/${NODE_SPACE[node]}/ns/net") != "$(readlink /proc/self/ns/net)" ]]; do sleep 0.01; done
        ip link add "$end" master "$FAILOVER_BRIDGE" type veth peer name eth0 netns "${NODE_SPACE[node]}" && ip link set "$end" up &&
            in_node "$node" ip link set lo up && in_node "$node" ip link set eth0 up &&
            in_node "$node" ip address add "$(failover_address 1$node)/24" dev eth0 || return 1
    done
}

in_node() { # in_node NODE COMMAND…
    local space=${NODE_SPACE[$1]}
    shift
    nsenter --net="/proc/$space/ns/net" "$@"
}

# failover_move NODE: the address is this node's from now on, and the client is told.
failover_move() {
    local address node
    address=$(failover_address 50)
    for node in 1 2; do
        if [[ $node != "$1" ]]; then in_node "$node" ip address del "$address/24" dev eth0 2>/dev/null || true; fi
    done
    in_node "$1" ip address replace "$address/24" dev eth0 && in_node "$1" python3 "$REPO/e2e/lib/announce.py" eth0 "$address" || return 1
    FAILOVER_ACTIVE=$1
}

failover_configure() {
    local node hosts=$HOST_ADDRESS,$HOST_ADDRESS
    rm -rf "$RUN/content"
    mkdir "$RUN/content"
    for node in 1 2; do
        cat >"$RUN/config$node.yaml" <<YAML
server: { listen: "0.0.0.0:$FAILOVER_PORT", portmap: off }
admin: { listen: "off" }
metadata:
  stores:
    names: { type: postgres, postgres: { host: "$hosts", port: "${CLUSTER_PORT[1]},${CLUSTER_PORT[2]}", database: postgres,
        user: postgres, password: none, sslmode: disable, max_conns: 20, auto_migrate: true, target_session_attrs: read-write } }
content: { stores: { bytes: { type: filesystem, filesystem: { base_path: $RUN/content } } } }
shares:
  - name: /export
    metadata_store: names
    content_store: bytes
    root: { uid: 0, gid: 0, mode: "0755" }
    clients: [ { network: 0.0.0.0/0, access: rw, squash: no_root_squash } ]
YAML
    done
    cp "$RUN/config1.yaml" "$RUN/config.yaml"
}

node_start() { # node_start NODE: begins its server
    : >"$RUN/node$1.out"
    # No function: the process is the server's own.
    nsenter --net="/proc/${NODE_SPACE[$1]}/ns/net" "$BINARY" serve --config "$RUN/config$1.yaml" >"$RUN/node$1.out" 2>>"$LOGS/server$1.log" </dev/null &
    NODE_PID[$1]=$!
}

node_ready() { # node_ready NODE: until its server serves
    for _ in {1..2400}; do
        if grep -q 'mount -t nfs' "$RUN/node$1.out"; then return 0; fi
        kill -0 "${NODE_PID[$1]}" 2>/dev/null || break
        sleep 0.05
    done
    echo "e2e: server $1 is not ready within 120 s" >&2
    tail -n 20 "$LOGS/server$1.log"
    return 1
}

node_kill() { # node_kill NODE
    [[ -n ${NODE_PID[$1]:-} ]] || return 0
    kill -KILL "${NODE_PID[$1]}"
    wait "${NODE_PID[$1]}" 2>/dev/null || true
    NODE_PID[$1]=
    echo "--- killed by the suite" >>"$LOGS/server$1.log"
}

node_stop() { # node_stop NODE: in order
    [[ -n ${NODE_PID[$1]:-} ]] || return 0
    local status=0
    kill -TERM "${NODE_PID[$1]}" 2>/dev/null || true
    for _ in {1..1200}; do
        kill -0 "${NODE_PID[$1]}" 2>/dev/null || break
        sleep 0.05
    done
    if kill -0 "${NODE_PID[$1]}" 2>/dev/null; then
        echo "e2e: server $1 did not end within 60 s of SIGTERM" >&2
        kill -KILL "${NODE_PID[$1]}"
        status=1
    fi
    wait "${NODE_PID[$1]}" 2>/dev/null || true
    NODE_PID[$1]=
    return "$status"
}

# Two clusters: the first one's changes wait for the second.
clusters_start() {
    local folder=$RUN/cluster node
    mkdir -p "$folder"
    chown postgres "$folder"
    for node in 1 2; do CLUSTER_PORT[node]=$((25430 + node)); done
    PRIMARY=1
    postgres_as "$PG_BIN/initdb" -D "$folder/1" -U postgres --auth=trust --encoding=UTF8 --locale=C --no-sync >"$LOGS/initdb" 2>&1 || return 1
    echo "host all,replication all 0.0.0.0/0 trust" >>"$folder/1/pg_hba.conf"
    cluster_run 1 && standby_make
}

other() { # other NODE
    echo $((3 - $1))
}

cluster_run() { # cluster_run NODE
    postgres_as "$PG_BIN/postgres" -D "$RUN/cluster/$1" -p "${CLUSTER_PORT[$1]}" -h 0.0.0.0 -k "$RUN/cluster" -c max_connections=200 \
        -c fsync=off -c full_page_writes=off -c dynamic_shared_memory_type=mmap >>"$LOGS/cluster$1.log" 2>&1 </dev/null &
    CLUSTER_PID[$1]=$!
    for _ in {1..600}; do
        if cluster_sql "$1" "SELECT 1" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    echo "e2e: the cluster $1 does not answer" >&2
    return 1
}

cluster_sql() { # cluster_sql NODE STATEMENT
    "$PG_BIN/psql" -X -q -A -t -h 127.0.0.1 -p "${CLUSTER_PORT[$1]}" -U postgres -v ON_ERROR_STOP=1 -c "$2" postgres </dev/null
}

# All of its processes at once.
cluster_stop() { # cluster_stop NODE
    [[ -n ${CLUSTER_PID[$1]:-} ]] || return 0
    # shellcheck disable=SC2046 # one word for each process
    kill -KILL "${CLUSTER_PID[$1]}" $(pgrep -P "${CLUSTER_PID[$1]}") 2>/dev/null || true
    wait "${CLUSTER_PID[$1]}" 2>/dev/null || true
    CLUSTER_PID[$1]=
}

# A new standby of the primary, which commits wait for from then on.
standby_make() {
    local node
    node=$(other "$PRIMARY")
    rm -rf "${RUN:?}/cluster/$node"
    postgres_as "$PG_BIN/pg_basebackup" -D "$RUN/cluster/$node" -h 127.0.0.1 -p "${CLUSTER_PORT[$PRIMARY]}" -U postgres -R -X stream \
        --checkpoint=fast --no-sync >>"$LOGS/cluster$node.log" 2>&1 </dev/null || return 1
    # Where it becomes the primary, it waits for nobody.
    sed -i '/synchronous_standby_names/d' "$RUN/cluster/$node/postgresql.auto.conf"
    cluster_run "$node" || return 1
    cluster_sql "$PRIMARY" "ALTER SYSTEM SET synchronous_standby_names = '*'" && cluster_sql "$PRIMARY" "SELECT pg_reload_conf()" >/dev/null
    for _ in {1..600}; do
        if [[ $(cluster_sql "$PRIMARY" "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1 ]]; then return 0; fi
        sleep 0.1
    done
    echo "e2e: the standby is not synchronous within 60 s" >&2
    return 1
}

# The primary is fenced: none of its processes is left. Then the standby takes its place.
database_promote() {
    cluster_stop "$PRIMARY"
    PRIMARY=$(other "$PRIMARY")
    cluster_sql "$PRIMARY" "SELECT pg_promote()" | grep -q t
}

# failover_answer WHAT: what the suite asks for. Status 1: it is none of these.
failover_answer() {
    case $1 in
    kill-active) node_kill "$FAILOVER_ACTIVE" ;;
    kill-passive) node_kill "$(other "$FAILOVER_ACTIVE")" ;;
    stop-active) node_stop "$FAILOVER_ACTIVE" || echo "e2e: the server did not stop well" >&2 ;;
    move-address) failover_move "$(other "$FAILOVER_ACTIVE")" || echo "e2e: the address was not moved" >&2 ;;
    start-dead)
        local node
        for node in 1 2; do
            if [[ -z ${NODE_PID[node]} ]]; then
                node_start "$node"
                node_ready "$node" || echo "e2e: the server did not start again" >&2
            fi
        done
        ;;
    promote-database) database_promote || echo "e2e: the standby was not promoted" >&2 ;;
    make-standby) standby_make || echo "e2e: there is no standby" >&2 ;;
    *) return 1 ;;
    esac
}
