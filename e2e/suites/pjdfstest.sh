#!/usr/bin/env bash
# The POSIX file system tests of the crate pjdfstest. Its answers become lines of "ok", "not ok" and "skip".
set -uo pipefail
config=$E2E_LOCAL/pjdfstest.toml
mkdir -p "$E2E_LOCAL/second"
# Users that a system has anyway, each with a group of the same id.
users=$(python3 -c '
import grp, pwd
names = []
for user in sorted(pwd.getpwall(), key=lambda u: u.pw_uid):
    try:
        if user.pw_uid and len(names) < 3:
            names.append([user.pw_name, grp.getgrgid(user.pw_gid).gr_name])
    except KeyError:
        pass
print(names)')
cat >"$config" <<TEXT
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.03
allow_remount = false
[dummy_auth]
entries = $users
TEXT

NO_COLOR=1 "$E2E_REPO/target/e2e-tools/bin/pjdfstest" -c "$config" -p "$E2E_WORK" -s "$E2E_LOCAL/second" >"$E2E_LOCAL/out" 2>&1
tail -n 3 "$E2E_LOCAL/out" | sed 's/^/# /'
awk '
    function flush() { if (name != "") print line (why == "" ? "" : ": " why); name = why = "" }
    /^[a-z_0-9]+::.* (ok|FAILED|skipped)$/ {
        flush(); name = $1; count++
        line = ($NF == "ok" ? "ok " : $NF == "FAILED" ? "not ok " : "skip ") name
        next
    }
    /^\t/ && why == "" { sub(/^\t/, ""); why = substr($0, 1, 200) }
    /^Summary: / { flush(); total = $(NF - 1) }
    END {
        flush()
        # Without its summary pjdfstest has not come to its end, and there is no plan.
        if (total != "") print "1.." total
    }' "$E2E_LOCAL/out"
