# What every suite in bash stands on: `check NAME COMMAND…` runs the command in a shell of its own and prints
# "ok NAME" or "not ok NAME: why"; `plan` prints the last line, "1..N", and ends the suite.
# shellcheck shell=bash
count=0 failed=0

check() {
    local name=$1 log=$E2E_LOCAL/$1.log status
    shift
    ((++count))
    # Not as the condition of an "if", where set -e has no effect.
    (
        set -euo pipefail
        "$@"
    ) >"$log" 2>&1
    status=$?
    if ((status == 0)); then
        echo "ok $name"
    else
        ((++failed))
        echo "not ok $name: $(tail -n 3 "$log" | tr '\n' ' ')"
    fi
}

plan() {
    echo "1..$count"
    exit $((failed > 0))
}

remount() {
    cd / && "$E2E_REMOUNT"
}
