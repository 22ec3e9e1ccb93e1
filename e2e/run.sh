#!/usr/bin/env bash
# The end-to-end suites: a real Linux NFS client, mounted, against a real server. See e2e/README.md.
set -euo pipefail
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Where cargo builds; a relative one counts from the repository, where cargo is called.
TARGET=$(cd "$REPO" && realpath -m -- "${CARGO_TARGET_DIR:-target}")
# shellcheck source=tests/lib/postgres.sh
source "$REPO/tests/lib/postgres.sh"
# shellcheck source=e2e/lib/packages.sh
source "$REPO/e2e/lib/packages.sh"
# shellcheck source=e2e/lib/disks.sh
source "$REPO/e2e/lib/disks.sh"
# shellcheck source=e2e/lib/server.sh
source "$REPO/e2e/lib/server.sh"
# shellcheck source=e2e/lib/client.sh
source "$REPO/e2e/lib/client.sh"
# shellcheck source=e2e/lib/qemu.sh
source "$REPO/e2e/lib/qemu.sh"
# shellcheck source=e2e/lib/soak.sh
source "$REPO/e2e/lib/soak.sh"
# shellcheck source=e2e/lib/failover.sh
source "$REPO/e2e/lib/failover.sh"

ALL_SUITES=(basic permissions links-special rename bigdir io locks git tar pjdfstest crash full move)
# Not run unless they are named: what takes long, and what e2e/soak.sh and benches/kernel-client.sh run.
OTHER_SUITES=(failover soak client-times)
CONFIGS=(memory-memory memory-filesystem memory-s3 sqlite-memory sqlite-filesystem sqlite-s3 postgres-memory postgres-filesystem postgres-s3 ganesha knfsd)

usage() {
    cat <<TEXT
usage: sudo e2e/run.sh --config NAME [--suite NAME]… [--case NAME]… [--kills N] [--binary PATH] [--client KIND]

  --config NAME   metadata and content store: memory, sqlite or postgres, and memory, filesystem or s3, as
                  sqlite-filesystem; or a reference: ganesha (NFS-Ganesha on this machine's disk) or knfsd, the
                  Linux kernel's own server
  --suite NAME    only this suite (may be repeated): ${ALL_SUITES[*]}; and failover
  --case NAME     only this case of the suite (may be repeated; suites in Python)
  --kills N       how often the crash suite kills the server at random (default: 8; 4 in emulation), and the failover
                  suite its servers (default: 50)
  --binary PATH   the server (default: debug/trunkfs in cargo's target folder, built if it is missing)
  --client KIND   auto (default), here (this machine's kernel), uml (User Mode Linux), uml-sse (its programs without
                  AVX) or qemu (emulation)

The logs of the last run are in target/e2e/CONFIG/SUITE/.
TEXT
}

CONFIG='' BINARY='' CASES='' KILLS='' WANTED_CLIENT=auto SUITES=()
ARGUMENTS=("$@")
while (($#)); do
    case $1 in
    --help | -h) usage && exit ;;
    --config | --suite | --case | --kills | --binary | --client) (($# >= 2)) || { usage >&2 && exit 2; } ;;&
    --config) CONFIG=$2 ;;
    --suite) SUITES+=("$2") ;;
    --case) CASES+="$2 " ;;
    --kills) KILLS=$2 ;;
    --binary) BINARY=$(realpath "$2") ;;
    --client) WANTED_CLIENT=$2 ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
    shift 2
done
contains() { # contains WORD LIST…
    local word=$1 item
    shift
    for item; do [[ $item == "$word" ]] && return; done
    return 1
}
[[ $KILLS =~ ^([1-9][0-9]{0,5})?$ ]] || { usage >&2 && exit 2; }
contains "$CONFIG" "${CONFIGS[@]}" || { usage >&2 && exit 2; }
((${#SUITES[@]})) || SUITES=("${ALL_SUITES[@]}")
for SUITE in "${SUITES[@]}"; do
    contains "$SUITE" "${ALL_SUITES[@]}" "${OTHER_SUITES[@]}" || { usage >&2 && exit 2; }
done

# The outer half makes the run's folder, does all that needs the machine's own network, and runs the inner half
# in namespaces of its own where it may: its processes, taps, ports and mounts end with it, whatever happens.
outer() {
    RUN=$(mktemp -d /tmp/trunkfs-e2e.XXXXXX)
    chmod 755 "$RUN"
    INNER='' own=()
    trap outer_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    as_invoker mkdir -p "$REPO/target/e2e"
    # Two runs at once install and build after each other.
    local lock
    exec {lock}>>"$REPO/target/e2e/lock"
    flock "$lock"
    packages_for_suites
    if database_wanted; then postgres_require; fi
    if [[ $CONFIG == knfsd ]]; then
        knfsd_fetch
        [[ $WANTED_CLIENT != auto ]] || WANTED_CLIENT=uml
        BINARY=none
    elif [[ $CONFIG == ganesha ]]; then
        need ganesha.nfsd nfs-ganesha
        need rpcbind rpcbind
        BINARY=none
    elif [[ -z $BINARY ]]; then
        BINARY=$TARGET/debug/trunkfs
        [[ -x $BINARY ]] || (cd "$REPO" && as_invoker cargo build --bin trunkfs)
    fi
    if [[ $CONFIG == *-s3 ]]; then
        # The build decides whether there is anything to do.
        (cd "$REPO" && as_invoker cargo build --quiet --example s3-server)
    fi
    if contains pjdfstest "${SUITES[@]}"; then pjdfstest_build; fi
    client_choose "$WANTED_CLIENT"
    exec {lock}>&-

    if unshare --net --pid --mount --fork --kill-child --mount-proc true 2>/dev/null; then
        own=(unshare --net --pid --mount --fork --kill-child --mount-proc)
    fi
    E2E_INNER=$RUN E2E_BINARY=$BINARY E2E_CLIENT=$CLIENT \
        "${own[@]}" "${BASH_SOURCE[0]}" "${ARGUMENTS[@]}" </dev/null &
    INNER=$!
    local status=0
    wait "$INNER" || status=$?
    INNER=
    return "$status"
}

# shellcheck disable=SC2317 # called by the trap
outer_end() {
    if [[ -n $INNER ]]; then
        # unshare ignores signals; the inner half, its only child, does not.
        if ((${#own[@]})); then pkill -TERM -P "$INNER" || true; else kill -TERM "$INNER" || true; fi
        for _ in {1..100}; do
            kill -0 "$INNER" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$INNER" 2>/dev/null || true
        wait "$INNER" 2>/dev/null || true
    fi
    # In namespaces of its own its mounts have ended with it.
    if ((!${#own[@]})) && [[ -d $RUN/disk ]]; then umount -l "$RUN"/disk/* 2>/dev/null || true; fi
    rm -rf "$RUN"
}

inner() {
    RUN=$E2E_INNER BINARY=$E2E_BINARY CLIENT=$E2E_CLIENT
    trap inner_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    ip link set lo up 2>/dev/null || true
    if database_wanted; then
        postgres_find
        postgres_start "$RUN/postgres"
    fi
    client_network
    echo "== e2e $CONFIG, client: $(client_describe)"
    local failed=() passed=0 start=$SECONDS
    for SUITE in "${SUITES[@]}"; do
        if ! suite_applies; then continue; fi
        if run_suite; then ((++passed)); else failed+=("$SUITE"); fi
    done
    echo "== e2e $CONFIG: $passed suites passed, ${#failed[@]} failed${failed[*]:+ (${failed[*]})}, $((SECONDS - start)) s"
    ((${#failed[@]} == 0))
}

# shellcheck disable=SC2317 # called by the trap
inner_end() {
    client_kill
    soak_stop
    server_stop 2>/dev/null || true
    failover_drop
    s3_stop
    disks_drop
    references_stop
    postgres_stop
    client_drop_tap
}

client_describe() {
    case $CLIENT in
    here) echo "this kernel, $(uname -r)" ;;
    uml) echo "User Mode Linux, $(linux.uml --version)" ;;
    uml-sse) echo "User Mode Linux without AVX, $(linux.uml --version)" ;;
    qemu) echo "QEMU, emulated" ;;
    esac
}

# A share is moved to a database and back by the suite move.
database_wanted() {
    [[ $CONFIG == postgres-* ]] || { contains move "${SUITES[@]}" && [[ -z $(move_excluded) ]]; }
}

move_excluded() { # why the suite move is not for this configuration
    case $CONFIG in
    sqlite-memory) echo "content in memory ends with the process" ;;
    sqlite-*) ;;
    *) echo "it begins in SQLite" ;;
    esac
}

# What a configuration cannot promise is not tried: the plan says so, and nothing is counted as passed.
suite_applies() {
    local why=
    if [[ $SUITE == crash ]]; then
        case $CONFIG in
        memory-*) why="metadata in memory ends with the process" ;;
        *-memory) why="content in memory ends with the process" ;;
        ganesha | knfsd) why="it kills TrunkFS" ;;
        esac
    fi
    if [[ $SUITE == full ]]; then
        case $CONFIG in
        sqlite-filesystem | postgres-filesystem) ((EUID == 0)) || why="small disks are mounted by root" ;;
        *) why="it is for sqlite and postgres with content in files" ;;
        esac
    fi
    if [[ $SUITE == failover ]]; then
        if [[ $CONFIG != postgres-filesystem ]]; then
            why="several servers have a database and a folder"
        elif [[ $CLIENT != uml* ]]; then
            why="its networks are on the tap of User Mode Linux"
        fi
    fi
    if [[ $SUITE == locks ]]; then
        case $CONFIG in
        ganesha | knfsd) why="it mounts TrunkFS by two addresses" ;;
        *) [[ $CLIENT == uml* ]] || why="the server calls the client, which has an address of its own with User Mode Linux alone" ;;
        esac
    fi
    if [[ $SUITE == soak && -z ${E2E_SECONDS:-} ]]; then
        why="e2e/soak.sh says for how long"
    elif [[ $SUITE == soak && $CONFIG != sqlite-filesystem && $CONFIG != postgres-filesystem ]]; then
        why="it is for sqlite and postgres with content in files"
    fi
    if [[ $SUITE == move ]]; then why=$(move_excluded); fi
    [[ -z $why ]] && return
    printf '%-14s not applicable: %s\n' "$SUITE" "$why"
    return 1
}

suite_seconds() { # the most a suite may take, in seconds
    local seconds=480
    case $SUITE in
    bigdir | pjdfstest) seconds=720 ;;
    crash) seconds=$((300 + $(suite_kills) * 15)) ;;
    failover) seconds=$((1200 + $(suite_kills) * 15)) ;;
    move) seconds=$((seconds + ${E2E_FILES:-0} / 50)) ;;
    soak) seconds=$((seconds + E2E_SECONDS + E2E_SECONDS / 4)) ;;
    client-times) seconds=1800 ;;
    esac
    if [[ $CLIENT == qemu ]]; then seconds=$((seconds * 4)); fi
    echo "$seconds"
}

suite_kills() {
    if [[ -n $KILLS ]]; then
        echo "$KILLS"
    elif [[ $SUITE == failover ]]; then
        echo 50
    elif [[ $CLIENT == qemu ]]; then
        echo 4
    else
        echo 8
    fi
}

run_suite() {
    LOGS=$RUN/logs/$SUITE
    mkdir -p "$LOGS"
    local begin end known='' file status=0
    for file in "$REPO/e2e/suites/$SUITE".{py,sh}; do
        if [[ -f $file ]]; then SUITE_FILE=${file##*/}; fi
    done
    begin=$(date +%s%N)
    if [[ $CONFIG == knfsd ]]; then
        MOUNT_SOURCE=knfsd
    elif [[ $SUITE == failover ]]; then
        if ! failover_start; then
            failover_drop
            keep_logs
            return 1
        fi
    else
        local listen=$SERVER_ADDRESS
        if [[ $SUITE == locks ]]; then listen=0.0.0.0:${SERVER_ADDRESS##*:}; fi
        server_configure "$listen" || return 1
        server_start || return 1
    fi
    client_start
    if [[ $SUITE == soak ]]; then soak_start; fi
    client_wait "$(suite_seconds)" || echo "e2e: $SUITE took more than $(suite_seconds) s and was ended"
    soak_stop
    if [[ $SUITE == failover ]]; then failover_stop || status=1; else server_stop || status=1; fi
    stores_check || status=1
    failover_drop
    end=$(date +%s%N)
    for file in "$SUITE" "$CONFIG"; do
        if [[ -f $REPO/e2e/known-failures/$file ]]; then known+="$REPO/e2e/known-failures/$file "; fi
    done
    awk -v suite="$SUITE" -v known="$known" -v seconds="$(((end - begin) / 1000000))e-3" \
        -f "$REPO/e2e/lib/verdict.awk" "$LOGS/output" || status=1
    if [[ $SUITE == soak ]] && ! soak_verdict; then status=1; fi
    if ((status)); then show_logs; fi
    keep_logs
    return "$status"
}

keep_logs() {
    local kept=$REPO/target/e2e/$CONFIG
    mkdir -p "$kept"
    rm -rf "${kept:?}/$SUITE"
    cp -r "$LOGS" "$kept/$SUITE"
    if [[ -n ${SUDO_UID:-} ]]; then chown -R "$SUDO_UID:${SUDO_GID:-0}" "$kept"; fi
}

show_logs() {
    echo "--- all of it is kept in target/e2e/$CONFIG/$SUITE; the end of output"
    tail -n 25 "$LOGS/output"
    if [[ $CLIENT != here ]]; then
        echo "--- the end of console"
        tail -n 15 "$LOGS/console"
    fi
    if [[ $SUITE == failover ]]; then
        echo "--- the ends of the servers' logs"
        tail -n 15 "$LOGS"/server?.log
    elif [[ $CONFIG != knfsd && $CONFIG != ganesha ]]; then
        server_log_tail
    fi
    echo "---"
}

if [[ -n ${E2E_INNER:-} ]]; then inner; else outer; fi
