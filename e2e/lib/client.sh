# Where the NFS client runs: on this machine's own kernel, in a User Mode Linux guest, or in an emulated one.
# In all three the suites see this machine's programs; in a guest the root is its file system, read-only.
# shellcheck shell=bash

CLIENT_PID=
TAP=

# client_choose WANTED: sets CLIENT to here, uml, uml-sse or qemu.
client_choose() {
    if [[ $1 != auto ]]; then
        CLIENT=$1
    elif client_here_works; then
        CLIENT=here
    elif client_tap_works && need linux.uml user-mode-linux 2>/dev/null; then
        CLIENT=uml
        if ! client_uml_works; then
            CLIENT=uml-sse
            client_uml_works || CLIENT=qemu
        fi
    else
        CLIENT=qemu
    fi
    case $CLIENT in
    uml | uml-sse)
        need linux.uml user-mode-linux
        need busybox busybox-static
        ;;
    qemu) qemu_require ;;
    here) ;;
    *)
        echo "e2e: --client is auto, here, uml, uml-sse or qemu" >&2
        return 1
        ;;
    esac
}

client_here_works() {
    ((EUID == 0)) || return 1
    modprobe -q nfsv3 2>/dev/null || true
    grep -qw nfs /proc/filesystems || return 1
    mkdir -p "$RUN/probe"
    mount -t tmpfs probe "$RUN/probe" 2>/dev/null && umount "$RUN/probe"
}

client_tap_works() {
    client_make_tap 2>/dev/null && client_drop_tap
}

# User Mode Linux, and what its command line begins with. See without-xstate.py for uml-sse.
client_uml() {
    UML=(linux.uml)
    if [[ $CLIENT == uml-sse ]]; then
        UML=(python3 "$REPO/e2e/lib/without-xstate.py" linux.uml OPENSSL_ia32cap=~0x1000000000000000:0
            GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX_Fast_Unaligned_Load,-AVX512F,-AVX512BW,-AVX512VL)
    fi
}

# A guest that runs one program and ends.
client_uml_works() {
    local console
    client_uml
    console=$(timeout -k 1 60 setsid "${UML[@]}" mem=128M root=/dev/root rootfstype=hostfs rootflags=/ ro \
        "uml_dir=$RUN/uml" umid=probe con=null con0=null,fd:1 panic=-1 "init=$(command -v python3)" -- -c pass 2>&1 </dev/null || true)
    [[ $console == *"Attempted to kill init! exitcode=0x00000000"* ]]
}

# A tap and a network of this run's own, should the run share its network namespace with others.
client_make_tap() {
    TAP=e2e$$ HOST_ADDRESS=10.$((64 + $$ / 254 % 128)).$(($$ % 254)).1
    GUEST_ADDRESS=${HOST_ADDRESS%.1}.2
    ip tuntap add dev "$TAP" mode tap || return 1
    # The second address is the server's too.
    ip address add "$HOST_ADDRESS/24" dev "$TAP" && ip address add "${HOST_ADDRESS%.1}.3/24" dev "$TAP" &&
        ip link set "$TAP" up
}

client_drop_tap() {
    [[ -n $TAP ]] || return 0
    for _ in {1..50}; do # busy until the guest's last process has ended
        ip tuntap del dev "$TAP" mode tap 2>/dev/null && break
        sleep 0.1
    done
    TAP=
}

# client_network: sets SERVER_ADDRESS, the address and port where the server listens for this client.
client_network() {
    if [[ $CLIENT == uml* ]]; then
        client_make_tap
        SERVER_ADDRESS=$HOST_ADDRESS:12049
    else
        SERVER_ADDRESS=127.0.0.1:$(free_port)
    fi
}

# client_start: starts $SUITE in the background. Its output goes to $LOGS/output, the guest's to $LOGS/console.
client_start() {
    rm -rf "$RUN/control"
    mkdir "$RUN/control"
    local source=$MOUNT_SOURCE
    # QEMU's user network has this machine's 127.0.0.1 at 10.0.2.2.
    if [[ $CLIENT == qemu ]]; then source=${source/#127.0.0.1:/10.0.2.2:}; fi
    local emulated=
    if [[ $CLIENT == qemu ]]; then emulated=true; fi
    {
        printf 'export %s=%q\n' E2E_EMULATED "$emulated" \
            E2E_SUITE "$SUITE_FILE" E2E_SOURCE "$source" E2E_OPTIONS "$MOUNT_OPTIONS" \
            E2E_CASES "$CASES" E2E_CONFIG "$CONFIG" E2E_KILLS "$(suite_kills)" E2E_BALANCED "$BALANCED" \
            E2E_SECOND "${HOST_ADDRESS%.1}.3:/export" E2E_FILES "${E2E_FILES:-}" E2E_SECONDS "${E2E_SECONDS:-}"
    } >"$RUN/control/environment"
    : >"$LOGS/output"
    : >"$LOGS/console"
    "client_start_${CLIENT%-sse}"
}

client_start_here() {
    (
        # shellcheck source=/dev/null
        source "$RUN/control/environment"
        export E2E_REPO=$REPO E2E_CONTROL=$RUN/control E2E_MOUNT=$RUN/mnt E2E_LOCAL=$RUN/local
        mkdir -p "$E2E_LOCAL"
        exec setsid --wait "$REPO/e2e/guest/run-suite"
    ) >"$LOGS/output" 2>&1 </dev/null &
    CLIENT_PID=$!
}

GUEST_MEMORY=1024 # MiB

client_start_uml() {
    # The guest's memory is a file: on a tmpfs where one is large enough and may be mapped executable.
    local memory=$RUN
    if (($(df --output=avail -m /dev/shm 2>/dev/null | tail -n 1) > GUEST_MEMORY)) &&
        ! findmnt -no OPTIONS /dev/shm | grep -qw noexec; then
        memory=/dev/shm
    fi
    mkdir -p "$RUN/uml"
    client_uml
    # The shell between keeps it out of this run's output when a guest, switched off, ends by abort().
    # shellcheck disable=SC2016 # expanded by that shell
    TMPDIR=$memory setsid sh -c '"$@"; true' guest "${UML[@]}" "mem=${GUEST_MEMORY}M" \
        root=/dev/root rootfstype=hostfs rootflags=/ ro "init=$REPO/e2e/guest/init" \
        "uml_dir=$RUN/uml" umid=guest con=null con0=null,fd:1 ssl0=null,fd:5 \
        "vec0:transport=tap,ifname=$TAP,depth=64,gro=1" quiet norandmaps panic=-1 \
        "E2E_REPO=$REPO" "E2E_SHARE=$RUN/control" "E2E_ADDRESS=$GUEST_ADDRESS/24" E2E_INTERFACE=vec0 E2E_OUTPUT=/dev/ttyS0 \
        >"$LOGS/console" 2>&1 5>"$LOGS/output" </dev/null &
    CLIENT_PID=$!
}

# client_wait SECONDS: until the suite has ended; answers what it asks for meanwhile. Status 1: too long.
client_wait() {
    local deadline=$((SECONDS + $1)) request
    while kill -0 "$CLIENT_PID" 2>/dev/null; do
        for request in "$RUN"/control/request.*; do
            if [[ -d $request ]]; then client_answer "$request"; fi
        done
        if ((SECONDS > deadline)); then
            client_kill
            return 1
        fi
        sleep 0.1
    done
    wait "$CLIENT_PID" 2>/dev/null || true
    CLIENT_PID=
}

# A process that was begun while the others were killed lives a moment longer, and the server does not start beside it.
database_start_again() {
    for _ in {1..5}; do
        postgres_run && return 0
        sleep 1
    done
    return 1
}

# A suite asks by making the folder request.NUMBER.WHAT; the answer is the folder answer.NUMBER.
client_answer() {
    local name=${1##*/} number
    number=${name#request.}
    number=${number%%.*}
    case ${name##*.} in
    kill) server_crash ;;
    stop) server_stop || echo "e2e: the server did not stop well" >&2 ;;
    start) server_start || echo "e2e: the server did not start again" >&2 ;;
    fill-disk) disk_fill content || echo "e2e: the content's disk is not full" >&2 ;;
    free-disk) disk_free content ;;
    fill-database) disk_fill database || echo "e2e: the database's disk is not full" >&2 ;;
    free-database) disk_free database ;;
    content-read-only) disk_set content ro || echo "e2e: the content's disk is not read-only" >&2 ;;
    content-writable) disk_set content rw ;;
    database-read-only) database_set on ;;
    database-writable) database_set off ;;
    kill-database) postgres_crash ;;
    move) server_move || echo "e2e: the share was not moved, see move.log" >&2 ;;
    start-database) database_start_again || echo "e2e: PostgreSQL did not start again" >&2 ;;
    *) failover_answer "${name##*.}" || echo "e2e: the suite asks for ${name##*.}" >&2 ;;
    esac
    rmdir "$1"
    mkdir "$RUN/control/answer.$number"
}

# A UML guest is many processes in sessions of their own; all name this run's folder in their command lines.
client_kill() {
    [[ -n $CLIENT_PID ]] || return 0
    local pid pids
    for _ in {1..50}; do
        pids=$(pgrep -s "$CLIENT_PID"; pgrep -f "uml_dir=$RUN/uml") || true
        [[ -n $pids ]] || break
        for pid in $pids; do kill -KILL "$pid" 2>/dev/null || true; done
        sleep 0.1
    done
    wait "$CLIENT_PID" 2>/dev/null || true
    CLIENT_PID=
    rm -rf "$RUN/uml"
    if [[ $CLIENT == here ]]; then umount -f -l "$RUN/mnt" || true; fi
} 2>/dev/null # bash reports killed jobs
