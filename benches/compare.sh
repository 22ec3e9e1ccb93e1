#!/usr/bin/env bash
# Compares two builds of TrunkFS on the same workloads, in turn, and fails where B is more than 10 % slower than A.
#
#   benches/compare.sh A B [--store sqlite|postgres] [--workload NAMES] [--time 3s] [--rounds 7] [--folder FOLDER] [--limit 10]
#
# A and B are git revisions, which are built (--release) in worktrees below target/compare, or programs. NAMES are those of
# `trunkfs bench`, whose newest build makes the load. FOLDER is on the disk to be measured; it is /var/tmp if not given.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' benches/compare.sh >&2 && exit 2; }
(($# >= 2)) || usage
builds=("$1" "$2")
shift 2
store=sqlite time=3s rounds=7 folder=/var/tmp limit=10
workload=null,getattr,lookup,create,rename,remove,setattr,readdirplus,write-4k-sync,write-1m,read-1m,small-files,mixed
while (($#)); do
    (($# >= 2)) || usage
    case $1 in
    --store) store=$2 ;;
    --workload) workload=$2 ;;
    --time) time=$2 ;;
    --rounds) rounds=$2 ;;
    --folder) folder=$(realpath "$2") ;;
    --limit) limit=$2 ;;
    *) usage ;;
    esac
    shift 2
done
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

# The program of a build: itself, or that of a revision, whose worktree and build are kept for the next time.
program_of() {
    local build=$1 revision tree
    if [[ -f $build && -x $build ]]; then
        realpath "$build"
        return
    fi
    revision=$(git rev-parse --verify --quiet "$build^{commit}") || {
        echo "$build is neither a program nor a revision" >&2
        return 1
    }
    tree=$PWD/target/compare/$revision
    if [[ ! -x $tree/target/release/trunkfs ]]; then
        [[ -d $tree ]] || git worktree add --quiet --detach "$tree" "$revision" >&2
        cargo build --release --locked --manifest-path "$tree/Cargo.toml" --target-dir "$tree/target" >&2
    fi
    echo "$tree/target/release/trunkfs"
}

a=$(program_of "${builds[0]}")
b=$(program_of "${builds[1]}")
# An older build may have no `bench`.
load=$b
"$load" bench --help >/dev/null 2>&1 || load=$a
"$load" bench --help >/dev/null 2>&1 || { echo "neither build has the command bench" >&2 && exit 2; }
work=$(mktemp -d "$folder/trunkfs-compare.XXXXXX")
chmod 755 "$work"
serve_start a "$a" "$store"
serve_start b "$b" "$store"
"$load" bench --compare "${URL[a]}" "${URL[b]}" --workload "$workload" --time "$time" --rounds "$rounds" --json >"$work/result.json"
python3 - "$work/result.json" "$limit" <<'PYTHON'
import json
import sys

with open(sys.argv[1]) as file:
    comparisons = json.load(file)["comparisons"]
limit = 1 - float(sys.argv[2]) / 100
slower = []
print(f"{'workload':<21} {'A a second':>12} {'B a second':>12}  ratio of the medians (least–most of a round)")
for it in comparisons:
    ratio = it["rate_ratio"]
    rates = [it[server]["per_second"]["median"] for server in ("a", "b")]
    is_slower = ratio["median"] < limit
    slower += [it["workload"]] if is_slower else []
    print(
        f"{it['workload']:<21} {rates[0]:>12,.0f} {rates[1]:>12,.0f}  {ratio['median']:.3f}"
        f" ({ratio['least']:.3f}–{ratio['most']:.3f}){' SLOWER' if is_slower else ''}"
    )
if slower:
    sys.exit(f"B is more than {sys.argv[2]} % slower: {', '.join(slower)}")
PYTHON
