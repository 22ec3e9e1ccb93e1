#!/usr/bin/env bash
# Hours of mixed work on one server, by programs on a mounted share and by the load generator on the wire; in the first
# half the server is killed again and again. At the end what the server takes must be flat: memory, descriptors, the write-ahead log and
# what PostgreSQL keeps for replication slots, the size of its tables. See e2e/README.md.
#
#   sudo e2e/soak.sh --hours N [--config sqlite-filesystem|postgres-filesystem] [--binary PATH] [--client KIND]
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2 && exit 2; }

hours='' config=sqlite-filesystem options=()
while (($#)); do
    (($# >= 2)) || usage
    case $1 in
    --hours) hours=$2 ;;
    --config) config=$2 ;;
    --binary | --client) options+=("$1" "$2") ;;
    *) usage ;;
    esac
    shift 2
done
[[ $hours =~ ^[0-9]+(\.[0-9]+)?$ && $config =~ ^(sqlite|postgres)-filesystem$ ]] || usage
E2E_SECONDS=$(awk -v hours="$hours" 'BEGIN { printf "%d", hours * 3600 }')
export E2E_SECONDS
exec "$here/run.sh" --config "$config" --suite soak "${options[@]}"
