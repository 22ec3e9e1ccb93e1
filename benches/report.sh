#!/usr/bin/env bash
# Measures TrunkFS on SQLite and on PostgreSQL, NFS-Ganesha where it is installed, and the disk, and writes the tables
# of BENCHMARKS.md between its two marker lines.
#
#   benches/report.sh [--time 5s] [--warm-up 1s] [--runs 3] [--workload NAMES] [--program FILE] [--folder FOLDER] [--output FILE]
#
# NAMES are those of `trunkfs bench`. FOLDER is on the disk to be measured; it is /var/tmp if not given. The machine shall do
# nothing else. Debian's packages for Ganesha are nfs-ganesha and nfs-ganesha-vfs, and the script runs it as root alone.
set -euo pipefail
command="benches/report.sh $*"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

time=5s warm_up=1s runs=3 workload=all program='' folder=/var/tmp output=BENCHMARKS.md
while (($#)); do
    case $1 in
    --time) time=$2 ;;
    --warm-up) warm_up=$2 ;;
    --runs) runs=$2 ;;
    --workload) workload=$2 ;;
    --program) program=$(realpath "$2") ;;
    --folder) folder=$(realpath "$2") ;;
    --output) output=$2 ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "benches/report.sh" >&2 && exit 2 ;;
    esac
    shift 2
done
grep -q '^<!-- benches/report.sh: begin -->$' "$output" || { echo "$output has no marker lines" >&2 && exit 2; }
# shellcheck source=benches/lib.sh
source benches/lib.sh

work=
# shellcheck disable=SC2317 # called by the trap
finish() {
    serve_stop
    if [[ -n $work ]]; then rm -rf "$work"; fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ -z $program ]]; then
    cargo build --release --locked
    program=$PWD/target/release/trunkfs
fi
work=$(mktemp -d "$folder/trunkfs-bench.XXXXXX")
chmod 755 "$work"

echo "the disk" >&2
python3 benches/disk.py "$work" >"$work/disk.json"
servers=(sqlite postgres)
for server in "${servers[@]}"; do serve_start "$server" "$program" "$server"; done
if ganesha_start ganesha; then servers+=(ganesha); else echo "NFS-Ganesha is left out: it is not here, or this is not root" >&2; fi

# The servers take turns, so that a change of the machine's mood meets all of them.
for ((run = 1; run <= runs; run++)); do
    for load in 8x8 1x1; do
        for server in "${servers[@]}"; do
            echo "run $run of $runs, $load, $server" >&2
            options=(--connections "${load%x*}" --depth "${load#*x}" --time "$time" --warm-up "$warm_up")
            if [[ $server == ganesha ]]; then options+=(--mount-port "$GANESHA_MOUNT_PORT"); fi
            # Errors are in the tables.
            "$program" bench "${URL[$server]}" --workload "$workload" "${options[@]}" --json >"$work/$server-$load-$run.json" ||
                echo "$server: unexpected replies" >&2
        done
    done
done
revision=$(git describe --always --dirty 2>/dev/null || echo unknown)
python3 benches/tables.py "$work" "$output" "$revision" "$command" "${servers[@]}"
