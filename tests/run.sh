#!/usr/bin/env bash
# Every test of the package, the ones that need PostgreSQL included, on a machine that may have neither
# PostgreSQL nor a C compiler yet. As root on Debian and Ubuntu the missing packages are named, and then installed
# at once; no service of theirs is started or enabled.
#
#   tests/run.sh [ARGUMENT of cargo test]… [-- ARGUMENT of the test programs…]
#
# A throw-away PostgreSQL runs on a free port of 127.0.0.1 while the tests do; its URL is in
# TRUNKFS_TEST_DATABASE_URL. The exit status is that of cargo test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/lib/postgres.sh
source tests/lib/postgres.sh

require_cargo() {
    [[ -d ${HOME:-/root}/.cargo/bin ]] && PATH=$PATH:${HOME:-/root}/.cargo/bin
    command -v cargo >/dev/null && return
    cat >&2 <<'TEXT'
Rust is needed and cargo was not found. Install it from https://rustup.rs (or your distribution's rustup package):
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
TEXT
    exit 1
}

# Packages that are missing, of Debian and Ubuntu: without the first no test runs, without the others some are left out.
packages_missing() {
    needed=() optional=()
    command -v cc >/dev/null || needed+=(gcc libc6-dev)
    postgres_find || needed+=(postgresql postgresql-client)
    pgbouncer_found || optional+=(pgbouncer)
    command -v systemd-analyze >/dev/null || optional+=(systemd)
    # 120 MB, half a minute.
    chromium_found || optional+=(chromium)
}

packages_install() {
    packages_missing
    ((${#needed[@]} + ${#optional[@]})) || return 0
    local all=("${needed[@]}" "${optional[@]}")
    apt_install "${all[@]}" && return
    if command -v apt-get >/dev/null; then
        echo "Packages are missing, which this command installs: sudo apt-get install ${all[*]}" >&2
    fi
    # What is optional may be what cannot be had.
    if ((${#needed[@]} && ${#optional[@]})); then apt_install "${needed[@]}" || true; fi
}

require_compiler() {
    command -v cc >/dev/null && return
    echo "A C compiler (cc) is needed to build: install gcc or clang." >&2
    exit 1
}

# Tests of what this machine has not, and cannot have: named here, and left out by name.
left_out=()
leave_out() { # leave_out TEST WHAT
    echo "NOT RUN: $1: there is no $2 here" >&2
    left_out+=(--skip "$1")
}

pgbouncer_found() {
    [[ -x /usr/sbin/pgbouncer ]] || command -v pgbouncer >/dev/null
}

require_pgbouncer() {
    pgbouncer_found || leave_out pooler:: PgBouncer
}

# As tests/cli/browser.rs looks for it.
chromium_found() {
    local name
    for name in chromium chromium-browser google-chrome chrome; do
        if command -v "$name" >/dev/null; then return 0; fi
    done
    return 1
}

require_chromium() {
    chromium_found || leave_out browser:: Chromium
}

# The checker of alert rules, unpacked and not installed: the package would start Prometheus.
require_promtool() {
    local tools=${CARGO_TARGET_DIR:-target}/test-tools
    PROMTOOL=$(command -v promtool || true)
    if [[ -z $PROMTOOL && ! -x $tools/usr/bin/promtool ]] && command -v apt-get >/dev/null; then
        mkdir -p "$tools"
        (cd "$tools" && apt-get download prometheus >/dev/null 2>&1 && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb) || true
    fi
    if [[ -z $PROMTOOL && -x $tools/usr/bin/promtool ]]; then PROMTOOL=$(realpath "$tools/usr/bin/promtool"); fi
    if [[ -z $PROMTOOL ]]; then leave_out monitoring::promtool_takes_the_alert_rules promtool; fi
    export PROMTOOL
}

require_packaging_tools() {
    if ! command -v systemd-analyze >/dev/null; then
        leave_out unit::systemd_takes_every_line systemd-analyze
        leave_out unit::the_sandbox_is_tight systemd-analyze
        leave_out unit::systemd_sysusers_makes_the_user systemd-sysusers
    fi
    if ! docker compose version >/dev/null 2>&1; then
        leave_out compose::docker_compose_takes_it "Docker Compose"
    fi
    command -v kustomize >/dev/null || leave_out kubernetes::kustomize_makes_the_same kustomize
}

# As tests/support/small_disk.rs finds its way.
require_small_disks() {
    local way
    for way in "unshare --mount" "unshare --user --map-root-user --mount" "sudo -n unshare --mount"; do
        # shellcheck disable=SC2086 # several words
        $way mount -t tmpfs -o size=64k none /mnt 2>/dev/null && return
    done
    leave_out full:: "way to mount a small file system (root, user namespaces or sudo)"
    leave_out full_disk:: "way to mount a small file system (root, user namespaces or sudo)"
}

# A user of its own and bind mounts, as systemd has them for a service.
require_namespaces() {
    ((EUID == 0)) && unshare --mount --propagation private mount --bind /mnt /mnt 2>/dev/null && return
    leave_out service_user:: "root with mount namespaces"
    leave_out groups:: "root with mount namespaces"
}

# Files of several owners are made by root alone.
require_root() {
    ((EUID == 0)) || leave_out root_commands:: "root, who makes files of another owner"
}

work=
# shellcheck disable=SC2317 # called by the trap
finish() {
    postgres_stop
    if [[ -n $work ]]; then rm -rf "$work"; fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

require_cargo
packages_install
require_compiler
postgres_require
require_pgbouncer
require_packaging_tools
require_chromium
require_promtool
require_small_disks
require_namespaces
require_root
work=$(mktemp -d "${TMPDIR:-/tmp}/trunkfs-tests.XXXXXX")
chmod 755 "$work"
postgres_start "$work/postgres"
export TRUNKFS_TEST_DATABASE_URL=$PG_URL

# A thread for each processor has its own connections and files: the usual limit is for fewer.
limit=$(ulimit -H -n)
if [[ $limit == unlimited ]] || ((limit > 16384)); then limit=16384; fi
ulimit -S -n "$limit"

# Most tests wait for disks, databases and clocks: two processors have room for more of them than two.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) > 8 ? $(nproc) : 8))}

# Ignored tests run too; whatever stands behind "--" is passed on to the test programs.
cargo_arguments=() test_arguments=()
while (($#)) && [[ $1 != -- ]]; do
    cargo_arguments+=("$1")
    shift
done
if (($#)); then
    shift
    test_arguments=("$@")
fi
status=0
cargo test "${cargo_arguments[@]}" -- --include-ignored "${left_out[@]}" "${test_arguments[@]}" || status=$?
exit "$status"
