# A throw-away PostgreSQL cluster: sourced by tests/run.sh, e2e/run.sh and benches/.
#
#   postgres_require        find PostgreSQL >= 15, install it by apt where it is missing
#   postgres_start FOLDER   start a cluster in FOLDER; sets PG_PORT and PG_URL
#   postgres_stop           stop it at once; nothing of it is kept
#
# With PG_DURABLE=1 commits wait for the disk, as benches/report.sh needs it.
#
# shellcheck shell=bash

PG_MINIMUM=15

# shellcheck source=tests/lib/packages.sh
source "${BASH_SOURCE[0]%/*}/packages.sh"

# The folder of initdb and postgres: Debian keeps them out of PATH.
postgres_find() {
    local folder major best=0
    PG_BIN=
    for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin "$(dirname "$(command -v initdb || echo /none/initdb)")"; do
        [[ -x $folder/initdb && -x $folder/postgres ]] || continue
        major=$("$folder/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
        if ((major >= PG_MINIMUM && major > best)); then
            best=$major PG_BIN=$folder
        fi
    done
    [[ -n $PG_BIN ]]
}

postgres_require() {
    postgres_find && return
    apt_install postgresql postgresql-client || true
    postgres_find && return
    cat >&2 <<TEXT
PostgreSQL $PG_MINIMUM or newer is needed and was not found (no initdb in PATH or /usr/lib/postgresql/*/bin).
Install your distribution's server package, for example
    Debian, Ubuntu   sudo apt-get install postgresql
    Fedora           sudo dnf install postgresql-server
    Arch             sudo pacman -S postgresql
    macOS            brew install postgresql@17
TEXT
    return 1
}

# initdb and postgres refuse root: as root they run as the user postgres.
postgres_as() {
    if ((EUID == 0)); then
        setpriv --reuid postgres --regid postgres --init-groups -- env HOME=/tmp LC_ALL=C "$@"
    else
        env LC_ALL=C "$@"
    fi
}

free_port() {
    local port
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 12000))
        (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
    done
    echo "no free port on 127.0.0.1" >&2
    return 1
}

postgres_start() {
    local folder=$1
    PG_DATA=$folder/data PG_LOG=$folder/log PG_PID=
    mkdir -p "$folder"
    chmod 755 "$folder"
    if ((EUID == 0)); then chown postgres "$folder"; fi
    postgres_as "$PG_BIN/initdb" -D "$PG_DATA" -U postgres --auth=trust --encoding=UTF8 --locale=C --no-sync >"$PG_LOG.initdb" 2>&1 || {
        tail -n 20 "$PG_LOG.initdb" >&2
        return 1
    }
    for _ in {1..5}; do # another process may take the port in between
        PG_PORT=$(free_port) || return 1
        # shellcheck disable=SC2034 # read by those who source this
        PG_URL=postgres://postgres@127.0.0.1:$PG_PORT/postgres
        postgres_run && return 0
        kill -0 "$PG_PID" 2>/dev/null && break
    done
    echo "PostgreSQL did not start; the end of its log:" >&2
    tail -n 20 "$PG_LOG" >&2
    return 1
}

# Starts the server of a cluster that is there, on its port. Status 1: it ended, or does not answer.
postgres_run() {
    # fsync is off: what is tested is the crash of processes, PostgreSQL's among them, never of the machine.
    local durability=(-c fsync=off -c full_page_writes=off)
    if [[ ${PG_DURABLE:-0} == 1 ]]; then durability=(); fi
    postgres_as "$PG_BIN/postgres" -D "$PG_DATA" -p "$PG_PORT" -h 127.0.0.1 -k "${PG_DATA%/*}" \
        -c max_connections=1000 "${durability[@]}" -c dynamic_shared_memory_type=mmap >>"$PG_LOG" 2>&1 </dev/null &
    PG_PID=$!
    for _ in {1..1200}; do
        kill -0 "$PG_PID" 2>/dev/null || return 1
        if postgres_sql "SELECT 1" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    return 1
}

# Kills every process of the server at once: what they had not given to the operating system is gone.
postgres_crash() {
    # shellcheck disable=SC2046 # one word for each process
    kill -KILL "$PG_PID" $(pgrep -P "$PG_PID") 2>/dev/null || true
    wait "$PG_PID" 2>/dev/null || true
}

postgres_sql() {
    "$PG_BIN/psql" -X -q -h 127.0.0.1 -p "$PG_PORT" -U postgres -v ON_ERROR_STOP=1 -c "$1" postgres </dev/null
}

# SIGQUIT is PostgreSQL's immediate shutdown: it takes its children along.
postgres_stop() {
    [[ -n ${PG_PID:-} ]] || return 0
    postgres_as "$PG_BIN/pg_ctl" -D "$PG_DATA" -m immediate -t 10 stop >/dev/null 2>&1 || kill -KILL "$PG_PID" 2>/dev/null || true
    wait "$PG_PID" 2>/dev/null || true
    PG_PID=
}
