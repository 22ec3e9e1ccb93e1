# What runs beside the suite soak: the load generator on the wire, and one line every ten seconds of what the server takes.
# shellcheck shell=bash

SOAK_PIDS=()

# soak_start: begins both. SERVER_PID changes with each kill, so the server's is read from $RUN/server.pid.
soak_start() {
    soak_load &
    SOAK_PIDS+=($!)
    soak_sample >"$LOGS/samples" &
    SOAK_PIDS+=($!)
}

soak_stop() {
    local pid
    for pid in "${SOAK_PIDS[@]}"; do
        pkill -TERM -P "$pid" 2>/dev/null || true
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    SOAK_PIDS=()
} 2>/dev/null # bash reports killed jobs

# A round that a kill ends leaves its directory to the suite, which removes it.
soak_load() {
    local address
    address=$(sed -n 's/^server: { listen: "\(.*\)" }/\1/p' "$RUN/config.yaml")
    while true; do
        "$BINARY" bench "nfs://$address/export" --workload mixed,create,rename,remove,small-files,write-4k-sync \
            --connections 4 --depth 4 --time 5s --file-size 8MiB >>"$LOGS/load" 2>&1 </dev/null || sleep 1
    done
}

# Seconds, the server's process, KiB of memory, descriptors, bytes of the write-ahead log, slots and what they hold back, bytes of tables.
soak_sample() {
    local pid memory descriptors log slots tables
    while sleep 10; do
        pid=$(<"$RUN/server.pid")
        memory=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || continue
        descriptors=$(find "/proc/$pid/fd" -mindepth 1 2>/dev/null | wc -l)
        case $CONFIG in
        sqlite-*)
            log=$(stat -c %s "$RUN/metadata/metadata.sqlite-wal" 2>/dev/null || echo 0)
            tables=$(stat -c %s "$RUN/metadata/metadata.sqlite") slots=0
            ;;
        postgres-*)
            read -r log slots tables <<<"$(postgres_sql "COPY (SELECT (SELECT coalesce(sum(size), 0) FROM pg_ls_waldir()),
                (SELECT count(*) FROM pg_replication_slots), pg_database_size('soak')) TO STDOUT" 2>/dev/null | tr '\t' ' ')"
            ;;
        esac
        if [[ -n $memory && -n $tables ]]; then echo "$SECONDS $pid $memory $descriptors $log $slots $tables"; fi
    done
}

# soak_verdict: prints whether it was flat.
soak_verdict() {
    awk -f "$REPO/e2e/lib/soak.awk" "$LOGS/samples" | tee "$LOGS/flat"
    grep -q '^all of it is flat' "$LOGS/flat"
}
