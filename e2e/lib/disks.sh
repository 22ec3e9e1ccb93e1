# Small disks under the server's stores, for the suite full: each a tmpfs of this run's own, which the suite has filled, freed
# and made read-only.
# shellcheck shell=bash

DISKS=() # in the order in which they were mounted

# disks_make: content on one, the database of postgres on another. SQLite has its file on the content's disk, mounted a second time,
# since the content's alone is made read-only.
disks_make() {
    case $CONFIG in
    sqlite-*)
        disk_mount metadata -t tmpfs -o size=48m none &&
            disk_mount content --bind "$RUN/disk/metadata"
        ;;
    postgres-*)
        disk_mount content -t tmpfs -o size=48m none &&
            disk_mount database -t tmpfs -o size=48m none &&
            mkdir "$RUN/disk/database/space" &&
            chown postgres "$RUN/disk/database/space" &&
            postgres_sql "CREATE TABLESPACE small LOCATION '$RUN/disk/database/space'"
        ;;
    esac
}

disk_mount() { # disk_mount NAME ARGUMENT of mount…
    local folder=$RUN/disk/$1
    shift
    mkdir -p "$folder"
    mount "$@" "$folder" || return 1
    DISKS+=("$folder")
    chmod 755 "$folder"
}

# However the run ends: what PostgreSQL has there must be gone first, where it still runs.
disks_drop() {
    ((${#DISKS[@]})) || return 0
    if [[ $CONFIG == postgres-* ]]; then
        postgres_sql 'DROP DATABASE IF EXISTS "full" WITH (FORCE)' || true
        postgres_sql "DROP TABLESPACE IF EXISTS small" || true
    fi 2>/dev/null
    local i
    for ((i = ${#DISKS[@]} - 1; i >= 0; i--)); do umount "${DISKS[i]}" || umount -l "${DISKS[i]}" || true; done
    DISKS=()
}

# disk_fill NAME: leaves not a block.
disk_fill() {
    local size
    for size in 1M 4k; do
        dd if=/dev/zero of="$RUN/disk/$1/ballast" bs="$size" oflag=append conv=notrunc status=none 2>/dev/null || true
    done
    (($(df --output=avail "$RUN/disk/$1" | tail -n 1) == 0))
}

disk_free() { # disk_free NAME
    rm "$RUN/disk/$1/ballast"
}

disk_set() { # disk_set NAME ro|rw
    mount -o "remount,bind,$2" "$RUN/disk/$1"
}

# database_set on|off: whether the suite's database takes no changes; sessions that are there end.
database_set() {
    postgres_sql "ALTER DATABASE \"full\" SET default_transaction_read_only = $1" &&
        postgres_sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'full'" >/dev/null
}
