#!/usr/bin/env bash
# Measures programs on a mount of a Linux kernel client (tar, git, cp, find, rm) with TrunkFS on SQLite and on PostgreSQL, NFS-Ganesha
# and the kernel's own server behind it, and writes the table of BENCHMARKS.md between its two marker lines.
#
#   sudo benches/kernel-client.sh [--program FILE] [--runs 3] [--client KIND] [--output FILE]
#
# The client is that of e2e/run.sh: this machine's kernel, or a guest. The kernel's server is one in the guest, on an ext4 in its memory,
# so that it has no disk to wait for, and is left out where there is no guest. All others sync to this machine's disk.
set -euo pipefail
command="benches/kernel-client.sh $*"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program='' runs=3 client=auto output=BENCHMARKS.md
while (($#)); do
    case $1 in
    --program) program=$(realpath "$2") ;;
    --runs) runs=$2 ;;
    --client) client=$2 ;;
    --output) output=$2 ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "benches/kernel-client.sh" >&2 && exit 2 ;;
    esac
    shift 2
done
grep -q '^<!-- benches/kernel-client.sh: begin -->$' "$output" || { echo "$output has no marker lines" >&2 && exit 2; }
if [[ -z $program ]]; then
    cargo build --release --locked
    program=$PWD/target/release/trunkfs
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
servers=(sqlite-filesystem postgres-filesystem ganesha knfsd)
# The servers take turns, so that a change of the machine's mood meets all of them.
for ((run = 1; run <= runs; run++)); do
    for server in "${servers[@]}"; do
        echo "run $run of $runs, $server" >&2
        PG_DURABLE=1 e2e/run.sh --config "$server" --suite client-times --binary "$program" --client "$client" >&2 || {
            echo "$server is left out: see above" >&2
            continue
        }
        sed -n 's/\r$//; s/^time //p' "target/e2e/$server/client-times/output" >"$work/$server-$run"
    done
done
python3 - "$work" "$output" "$(git describe --always --dirty 2>/dev/null || echo unknown)" "$command" "${servers[@]}" <<'PYTHON'
import datetime
import os
import pathlib
import platform
import statistics
import sys

work, output, revision, command, *servers = sys.argv[1:]
NAMES = {
    "sqlite-filesystem": "TrunkFS, SQLite",
    "postgres-filesystem": "TrunkFS, PostgreSQL",
    "ganesha": "NFS-Ganesha, VFS",
    "knfsd": "kernel server, in memory",
}
WORK = {
    "tar_x": "`tar x` of this repository",
    "rm_rf_source": "`rm -rf` of it",
    "git_clone": "`git clone` of 2,000 files",
    "git_status": "`git status` in it",
    "cp_a": "`cp -a` of 10,000 files of 4 KiB in 100 directories",
    "find_ls": "`find -ls` of them",
    "read": "reading them",
    "rm_rf": "`rm -rf` of them",
}
BEGIN, END = ("<!-- benches/kernel-client.sh: %s -->\n" % word for word in ("begin", "end"))
times = {server: {} for server in servers}
for server in servers:
    for path in sorted(pathlib.Path(work).glob(server + "-*")):
        for line in path.read_text().splitlines():
            name, seconds = line.split()
            times[server].setdefault(name, []).append(float(seconds))
there = [server for server in servers if times[server]]


def shown(values):
    median = "%.2f" % statistics.median(values)
    return median if len(values) == 1 else "%s (%.2f–%.2f)" % (median, min(values), max(values))


lines = [
    "Commit %s, %s; %d processors, Linux %s; `%s`. Seconds, medians of the runs with the least and the most in parentheses."
    % (revision, datetime.date.today(), os.cpu_count(), platform.release(), command),
    "",
    "| | " + " | ".join(NAMES[server] for server in there) + " |",
    "| --- |" + " --- |" * len(there),
]
for name, what in WORK.items():
    lines.append("| %s | " % what + " | ".join(shown(times[s][name]) if name in times[s] else "–" for s in there) + " |")
text = pathlib.Path(output).read_text()
before, rest = text.split(BEGIN)
_, after = rest.split(END)
pathlib.Path(output).write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after)
PYTHON
