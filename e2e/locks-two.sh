#!/usr/bin/env bash
# Locks of two kernel clients at two servers of one database: each of the four is a machine of its own, with an address, a port mapper
# and an rpc.statd or the server's own. Servers and clients are killed and started again, and the servers' addresses are
# moved. Takes four minutes; not part of e2e/run.sh. See e2e/README.md.
#
#   sudo e2e/locks-two.sh [--case NAME]… [--binary PATH] [--cthon FOLDER]
#
# --cthon: the sources of Connectathon's tests (cthon04); its lock tests run too.
set -euo pipefail
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=$(cd "$REPO" && realpath -m -- "${CARGO_TARGET_DIR:-target}")
# shellcheck source=tests/lib/postgres.sh
source "$REPO/tests/lib/postgres.sh"
# shellcheck source=e2e/lib/packages.sh
source "$REPO/e2e/lib/packages.sh"
# shellcheck source=e2e/lib/client.sh
source "$REPO/e2e/lib/client.sh"

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2 && exit 2; }

BINARY='' CTHON='' CASES=() ARGUMENTS=("$@")
while (($#)); do
    (($# >= 2)) || usage
    case $1 in
    --binary) BINARY=$(realpath "$2") ;;
    --cthon) CTHON=$(realpath "$2") ;;
    --case) CASES+=("$2") ;;
    *) usage ;;
    esac
    shift 2
done
((EUID == 0)) || { echo "locks-two: it makes network namespaces: run it as root" >&2 && exit 2; }

outer() {
    RUN=$(mktemp -d /tmp/trunkfs-e2e.XXXXXX)
    chmod 755 "$RUN"
    INNER=''
    trap 'outer_end' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    packages_for_suites
    need rpcbind rpcbind
    need linux.uml user-mode-linux
    need busybox busybox-static
    postgres_require
    [[ -n $BINARY ]] || BINARY=$TARGET/debug/trunkfs
    [[ -x $BINARY ]] || (cd "$REPO" && as_invoker cargo build --bin trunkfs)
    CLIENT=uml
    client_uml_works || CLIENT=uml-sse
    if [[ -n $CTHON ]]; then
        need cc gcc
        # As its tests.init has it for Linux.
        local flags=(-O2 -w -DLINUX -DHAVE_SOCKLEN_T -DGLIBC=22 -DMMAP -DSTDARG -DLF_SUMMIT)
        cc "${flags[@]}" -o "$RUN/tlocklfs" "$CTHON/lock/tlock.c" -lm
        cc "${flags[@]}" -DLARGE_LOCKS -o "$RUN/tlock64" "$CTHON/lock/tlock.c" -lm
    fi
    E2E_INNER=$RUN E2E_BINARY=$BINARY E2E_CLIENT=$CLIENT \
        unshare --net --pid --mount --fork --kill-child --mount-proc "${BASH_SOURCE[0]}" "${ARGUMENTS[@]}" </dev/null &
    INNER=$!
    local status=0
    wait "$INNER" || status=$?
    INNER=
    return "$status"
}

# shellcheck disable=SC2317 # called by the trap
outer_end() {
    if [[ -n $INNER ]]; then
        pkill -KILL -P "$INNER" || true
        wait "$INNER" 2>/dev/null || true
    fi
    local kept=$REPO/target/e2e/locks-two
    rm -rf "$kept"
    mkdir -p "${kept%/*}"
    if [[ -d $RUN/logs ]]; then cp -r "$RUN/logs" "$kept"; fi
    rm -rf "$RUN"
}

inner() {
    RUN=$E2E_INNER BINARY=$E2E_BINARY CLIENT=$E2E_CLIENT
    mkdir -p "$RUN/logs"
    ip link set lo up
    # The names of the namespaces are this run's alone.
    mkdir -p /run/netns
    mount -t tmpfs netns /run/netns
    postgres_find
    postgres_start "$RUN/postgres"
    client_uml
    printf '%s\n' "${UML[@]}" >"$RUN/uml.command"
    local status=0
    E2E_RUN=$RUN E2E_BINARY=$BINARY E2E_REPO=$REPO E2E_PG_PORT=$PG_PORT \
        python3 "$REPO/e2e/suites/locks_two.py" "${CASES[@]}" || status=$?
    postgres_stop
    return "$status"
}

if [[ -n ${E2E_INNER:-} ]]; then inner; else outer; fi
