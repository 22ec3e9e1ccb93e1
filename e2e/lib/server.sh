# The server under test: its configuration, its start, its end and its crash.
# shellcheck shell=bash

SERVER_PID=
MOUNT_OPTIONS='' MOUNT_SOURCE=''

# server_configure ADDRESS:PORT: a fresh, empty store of each kind that $CONFIG names, METADATA-CONTENT.
server_configure() {
    local metadata='{ type: memory }' content='{ type: memory }' other='' tablespace=''
    local metadata_folder=$RUN/metadata content_folder=$RUN/content portmap=off
    # Port 111 is the run's own where its network is.
    if [[ $SUITE == basic && $CLIENT == uml* || $SUITE == locks ]]; then portmap=serve; fi
    disks_drop
    rm -rf "$RUN/content" "$RUN/metadata"
    if [[ $SUITE == full ]]; then
        disks_make || return 1
        metadata_folder=$RUN/disk/metadata/names content_folder=$RUN/disk/content/bytes tablespace='TABLESPACE small'
    fi
    if [[ $CONFIG == sqlite-* ]]; then
        metadata="{ type: sqlite, sqlite: { path: $metadata_folder/metadata.sqlite } }"
    fi
    if [[ $CONFIG == postgres-* || $SUITE == move ]]; then
        local database=${SUITE//-/_}
        postgres_sql "DROP DATABASE IF EXISTS \"$database\" WITH (FORCE)" 2>/dev/null
        postgres_sql "CREATE DATABASE \"$database\" $tablespace"
        other="{ type: postgres, postgres: { host: 127.0.0.1, port: $PG_PORT, database: $database, user: postgres,
        password: none, sslmode: disable, max_conns: 20, auto_migrate: true } }"
    fi
    if [[ $CONFIG == postgres-* ]]; then metadata=$other; fi
    if [[ $CONFIG == *-filesystem ]]; then
        mkdir "$content_folder"
        content="{ type: filesystem, filesystem: { base_path: $content_folder } }"
    fi
    if [[ $CONFIG == *-s3 ]]; then
        s3_start || return 1
        content="{ type: s3, s3: { bucket: content, endpoint: \"$S3_URL\", allow_http: true, access_key: trunkfs-tests,
        secret_key: not a secret } }"
    fi
    cat >"$RUN/config.yaml" <<YAML
server: { listen: "$1", portmap: $portmap }
admin: { listen: "off" }
metadata:
  stores:
    names: $metadata
    ${other:+other: $other}
content: { stores: { bytes: $content } }
shares:
  - name: /export
    metadata_store: names
    content_store: bytes
    root: { uid: 0, gid: 0, mode: "0755" }
    clients: [ { network: 0.0.0.0/0, access: rw, squash: no_root_squash } ]
YAML
}

# server_move: the share's metadata goes from the store it is in to the other one, while no server runs.
server_move() {
    local from to=other
    from=$(sed -n 's/^    metadata_store: //p' "$RUN/config.yaml")
    if [[ $from == other ]]; then to=names; fi
    server_stop || return 1
    rm -f "$RUN/dump"
    {
        echo "--- from $from to $to"
        "$BINARY" dump --config "$RUN/config.yaml" --store "$from" "$RUN/dump" &&
            "$BINARY" load --config "$RUN/config.yaml" --store "$to" --replace "$RUN/dump"
    } >>"$LOGS/move.log" 2>&1 </dev/null || return 1
    sed -i "s/^    metadata_store: .*/    metadata_store: $to/" "$RUN/config.yaml"
    server_start
}

# Starts the server and waits for the mount command it prints when it is ready; the suites mount by it.
server_start() {
    if [[ $CONFIG == ganesha ]]; then
        reference_start
        return
    fi
    : >"$RUN/server.out"
    "$BINARY" serve --config "$RUN/config.yaml" >"$RUN/server.out" 2>>"$LOGS/server.log" </dev/null &
    SERVER_PID=$!
    echo "$SERVER_PID" >"$RUN/server.pid"
    local line
    for _ in {1..2400}; do
        line=$(grep -m 1 -oE 'mount -t nfs (-o [^ ]+ )?[^ ]+:/export( |$)' "$RUN/server.out") && break
        kill -0 "$SERVER_PID" 2>/dev/null || break
        sleep 0.05
    done
    if [[ -z $line ]]; then
        echo "e2e: the server printed no mount command within 120 s" >&2
        server_log_tail
        return 1
    fi
    MOUNT_OPTIONS=
    if [[ $line == *' -o '* ]]; then
        read -r _ _ _ _ MOUNT_OPTIONS MOUNT_SOURCE <<<"$line"
    else
        read -r _ _ _ MOUNT_SOURCE <<<"$line"
    fi
    # A server of every address prints the machine's name, which the guest does not know.
    if [[ $SUITE == locks ]]; then MOUNT_SOURCE=$HOST_ADDRESS:/export; fi
}

# NFS-Ganesha on a folder of this run, for comparison.
reference_start() {
    # shellcheck source=benches/lib.sh
    cd "$REPO" && source benches/lib.sh
    local work=$RUN
    ganesha_start ganesha || return 1
    SERVER_PID=${serve_pids[-1]}
    local port=${URL[ganesha]#nfs://127.0.0.1:}
    MOUNT_OPTIONS=vers=3,proto=tcp,port=${port%%/*},mountport=$GANESHA_MOUNT_PORT,mountproto=tcp,nolock,noacl # its ACL protocol answers cp -a with EIO
    MOUNT_SOURCE=${SERVER_ADDRESS%:*}:/${port#*/}
}

references_stop() {
    if [[ $CONFIG == ganesha ]]; then serve_stop; fi
}

S3_PID='' S3_URL=''

# An S3 server with an empty bucket; see README.md for which, and why.
s3_start() {
    s3_stop
    rm -rf "$RUN/bucket"
    mkdir "$RUN/bucket"
    : >"$RUN/s3.out"
    "$TARGET/debug/examples/s3-server" "$RUN/bucket" >"$RUN/s3.out" 2>>"$LOGS/s3.log" </dev/null &
    S3_PID=$!
    for _ in {1..1200}; do
        S3_URL=$(head -n 1 "$RUN/s3.out")
        [[ -z $S3_URL ]] || return 0
        kill -0 "$S3_PID" 2>/dev/null || break
        sleep 0.05
    done
    echo "e2e: the S3 server did not start" >&2
    return 1
}

s3_stop() {
    [[ -n $S3_PID ]] || return 0
    kill -KILL "$S3_PID" 2>/dev/null || true
    wait "$S3_PID" 2>/dev/null || true
    S3_PID=
}

server_stop() {
    [[ -n $SERVER_PID ]] || return 0
    local status=0
    kill -TERM "$SERVER_PID" 2>/dev/null || true
    for _ in {1..1200}; do
        kill -0 "$SERVER_PID" 2>/dev/null || break
        sleep 0.05
    done
    if kill -0 "$SERVER_PID" 2>/dev/null; then
        echo "e2e: the server did not end within 60 s of SIGTERM" >&2
        kill -KILL "$SERVER_PID"
        status=1
    fi
    wait "$SERVER_PID" 2>/dev/null || true
    SERVER_PID=
    return "$status"
}

# What the suite left in the stores must be sound, its crashes included.
stores_check() {
    local left_out=()
    case $CONFIG in
    memory-* | ganesha | knfsd) return ;;
    *-memory) left_out=(--no-content) ;;
    esac
    "$BINARY" fsck --config "$RUN/config.yaml" "${left_out[@]}" >"$LOGS/fsck" 2>&1 </dev/null && return
    echo "e2e: fsck found the stores of $SUITE not sound"
    tail -n 20 "$LOGS/fsck"
    return 1
}

server_crash() {
    kill -KILL "$SERVER_PID"
    wait "$SERVER_PID" 2>/dev/null || true
    SERVER_PID=
    echo "--- killed by the crash suite" >>"$LOGS/server.log"
}

server_log_tail() {
    echo "--- the end of server.log"
    tail -n 30 "$LOGS/server.log"
    tail -n 5 "$RUN/server.out"
}
