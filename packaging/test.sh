#!/usr/bin/env bash
# The packages on a bare system: built, installed, served from, upgraded, removed, purged, and what is left then. As root, in an
# amd64 or arm64 Debian with debootstrap, rpm, cargo-deb and cargo-generate-rpm; the first run downloads a Debian of 100 MB. Some
# minutes: no part of continuous integration.
#
#   packaging/test.sh [--binary FILE] [deb] [rpm]
#
# The server runs as trunkfs.service would run it, in namespaces of its own. systemctl is a script there that notes its calls.
# shellcheck disable=SC2317 # functions that are called by name
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."
SUITE=bookworm
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
# Of the newest glibc function that the program may need: Debian 12 has 2.36, and RHEL 9 has 2.34.
NEWEST_GLIBC=2.34

build=(--fast) kinds=()
while (($#)); do
    case $1 in
        --binary) build+=(--binary "$2") && shift ;;
        deb | rpm) kinds+=("$1") ;;
        *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    esac
    shift
done
((${#kinds[@]})) || kinds=(deb rpm)
((EUID == 0)) || { echo "run it as root: it makes roots and namespaces" >&2 && exit 2; }

work=$(mktemp -d "${TMPDIR:-/tmp}/trunkfs-packages.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
checks=0

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# check WHAT COMMAND…: the command succeeds. check WHAT ! COMMAND…: it fails.
check() {
    local what=$1 negated=0
    shift
    if [[ $1 == ! ]]; then negated=1 && shift; fi
    if "$@" >"$work/said" 2>&1; then
        ((negated == 0)) || fail "$what: $* succeeded: $(cat "$work/said")"
    else
        ((negated == 1)) || fail "$what: $*: $(cat "$work/said")"
    fi
    checks=$((checks + 1))
    echo "ok: $what"
}

# says WHAT WORDS: the command of the last check has printed them.
says() {
    grep -qF "$2" "$work/said" || fail "$1: $(cat "$work/said")"
    checks=$((checks + 1))
    echo "ok: $1"
}

same() { # same WHAT EXPECTED FOUND
    [[ $2 == "$3" ]] || fail "$1: expected:"$'\n'"$2"$'\n'"found:"$'\n'"$3"
    checks=$((checks + 1))
    echo "ok: $1"
}

# A bare Debian with systemd's files in $root, and a list of its files in $work/before.
bare_debian() {
    local cache=target/test-tools/debian-$SUITE.tar
    if [[ ! -f $cache ]]; then
        mkdir -p "${cache%/*}"
        debootstrap --variant=minbase --include=systemd,procps "$SUITE" "$work/new" "$MIRROR" >"$work/debootstrap" ||
            fail "debootstrap: $(tail -3 "$work/debootstrap")"
        tar -C "$work/new" --numeric-owner -cf "$cache.part" . && mv "$cache.part" "$cache"
        rm -rf --one-file-system "$work/new"
    fi
    root=$work/root-$1
    mkdir "$root"
    tar -C "$root" -xf "$cache"
    mkdir -p "$root/run/systemd/system"
    # Scripts of packages take the machine for one that systemd runs.
    local name
    for name in systemctl deb-systemd-invoke; do
        printf '#!/bin/sh\necho "%s $*" >>/systemd-calls\n' "$name" >"$root/usr/bin/$name"
    done
    : >"$root/systemd-calls"
    files >"$work/before"
}

# The files of the root, but for those that the packaging systems keep for themselves.
files() {
    (cd "$root" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/lib/rpm -o -path ./root/.rpmdb -o -path ./usr/lib/sysimage -o -path ./var/log \
        -o -path ./var/cache -o -path ./var/lib/apt -o -path ./run -o -path ./dev -o -path ./tmp \) -prune -o -print | sort)
}

# Something in the root: its own mounts, processes and network, of which the loopback interface is up.
inside() {
    unshare --mount --pid --net --ipc --uts --fork --kill-child --propagation private -- sh -ec '
        ip link set lo up
        mount -t proc proc "$0/proc"
        mount -t tmpfs tmpfs "$0/dev/shm" 2>/dev/null || true
        exec chroot "$0" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive "$@"' "$root" "$@"
}

# Starts the server as its unit does, and runs a script beside it as root. Fails where the server does not end well.
beside_server() {
    cat >"$root/beside-server" <<'TEXT'
set -eu
unit=/usr/lib/systemd/system/trunkfs.service
of() { sed -n "s/^$1=//p" "$unit"; }
user=$(of User)
for folder in $(of StateDirectory); do
    [ -d "/var/lib/$folder" ] || install -d -m "$(of StateDirectoryMode)" -o "$user" -g "$user" "/var/lib/$folder"
done
cd "$(of WorkingDirectory)"
umask "$(of UMask)"
# A hard limit that is lower stays.
ulimit -n "$(of LimitNOFILE)" 2>/dev/null || true
# shellcheck disable=SC2046 # a line of words
setpriv --reuid "$user" --regid "$(of Group)" --init-groups --inh-caps=-all --bounding-set=-all --no-new-privs \
    $(of ExecStart) >/server-log 2>&1 &
server=$!
cd /
tries=0
until trunkfs status 127.0.0.1:12080 >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ] || ! kill -0 "$server"; then cat /server-log; exit 1; fi
    sleep 0.1
done
status=0
sh -eu /script || status=$?
kill -TERM "$server"
wait "$server" || { echo "the server ended with $?"; cat /server-log; exit 1; }
exit "$status"
TEXT
    cat >"$root/script"
    local status=0
    inside sh /beside-server || status=$?
    rm -f "$root/script" "$root/beside-server" "$root/server-log"
    return "$status"
}

# Files are made by NFS, and left.
write_files() {
    beside_server <<'TEXT'
trunkfs status 127.0.0.1:12080
trunkfs bench nfs://127.0.0.1:12049/export --workload getattr,small-files --connections 2 --depth 2 --time 500ms --warm-up 0s
# A load that is killed leaves its files.
trunkfs bench nfs://127.0.0.1:12049/export --workload small-files --connections 1 --depth 1 --time 20s --warm-up 0s &
sleep 1.5
kill -KILL $!
wait $! || true
TEXT
}

# Names and sizes of the share's objects, through a running server and from its store.
objects() {
    beside_server <<'TEXT'
trunkfs status 127.0.0.1:12080 >/dev/null
setpriv --reuid trunkfs --regid trunkfs --init-groups trunkfs find /export --csv
TEXT
}

# owner:group mode
owned() {
    inside stat -c '%U:%G %a' "$1"
}

installed_well() {
    same "the configuration is readable by the service alone" "root:trunkfs 640" "$(owned /etc/trunkfs/config.yaml)"
    same "the state folder is the service's" "trunkfs:trunkfs 700" "$(owned /var/lib/trunkfs)"
    check "the unit is right" inside systemd-analyze verify --man=no trunkfs.service
    check "nothing is enabled" ! test -e "$root/etc/systemd/system/multi-user.target.wants/trunkfs.service"
    check "systemd hears of the unit" grep -q daemon-reload "$root/systemd-calls"
    check "nothing was started" ! grep -E "start|enable" "$root/systemd-calls"
    check "the user's check of the configuration" inside setpriv --reuid trunkfs --regid trunkfs --init-groups trunkfs check-config
    check "the completion of bash" inside bash -c 'source /usr/share/bash-completion/completions/trunkfs && complete -p trunkfs'
    check "a page of the manual" inside sh -c 'gzip -dc /usr/share/man/man1/trunkfs-serve.1.gz | grep -q "^.SH NAME"'
    check "no other machine may mount" grep -q "listen: 127.0.0.1:12049" "$root/etc/trunkfs/config.yaml"
}

# The administrator's lines, and data.
used() {
    echo "# an administrator's line" >>"$root/etc/trunkfs/config.yaml"
    chmod 600 "$root/etc/trunkfs/config.yaml"
    chown --reference "$root/var/lib/trunkfs" "$root/etc/trunkfs/config.yaml"
    check "serves, as the unit runs it" write_files
    before=$(objects) || fail "no list of files: $before"
    ((${#before} > 500)) || fail "no files were left: $before"
    : >"$root/systemd-calls"
}

upgraded_well() {
    same "the version is the new one" "$new" "$(installed_version)"
    check "what runs is restarted" grep -q "try-restart trunkfs.service" "$root/systemd-calls"
    check "nothing is stopped, started or enabled" ! grep -E " (stop|start|enable|disable)" "$root/systemd-calls"
    check "the configuration is the administrator's" grep -q "an administrator's line" "$root/etc/trunkfs/config.yaml"
    same "so are its owner and mode" "trunkfs:trunkfs 600" "$(owned /etc/trunkfs/config.yaml)"
    same "every file is there" "$before" "$(objects)"
    : >"$root/systemd-calls"
}

removed_well() {
    check "the service was stopped" grep -qE "stop trunkfs.service|disable --now trunkfs.service" "$root/systemd-calls"
    local path
    for path in usr/bin/trunkfs usr/lib/systemd/system/trunkfs.service usr/share/doc/trunkfs usr/share/man/man1/trunkfs.1.gz; do
        check "$path is gone" ! test -e "$root/$path"
    done
    check "the data are kept" test -s "$root/var/lib/trunkfs/metadata.sqlite"
}

# But for data, and the user that owns them: nothing_left FILES.
nothing_left() {
    files >"$work/after"
    local left
    left=$(comm -13 "$work/before" "$work/after" | grep -vE '^\./(var/lib/trunkfs(-backup)?(/|$)|etc/g?(passwd|group|shadow)-$)' || true)
    same "no other file is left" "$1" "$left"
    same "no file of the system is gone" "" "$(comm -23 "$work/before" "$work/after")"
    check "the user is kept" inside getent passwd trunkfs
}

test_deb() {
    local arch
    arch=$(dpkg --print-architecture)
    packaging/build.sh "${build[@]}" --into "$work" --version "$old" deb >/dev/null
    packaging/build.sh "${build[@]}" --into "$work" --version "$new" deb >/dev/null
    bare_debian deb
    cp "$work"/trunkfs_*.deb "$root/tmp/"
    installed_version() { inside dpkg-query -W -f '${Version}' trunkfs | sed 's/-1$//'; }

    check "apt installs it" inside apt-get install -y --no-install-recommends "/tmp/trunkfs_$old-1_$arch.deb"
    says "and says what to do" "edit /etc/trunkfs/config.yaml"
    installed_well
    used
    check "apt upgrades it" inside apt-get install -y --no-install-recommends "/tmp/trunkfs_$new-1_$arch.deb"
    upgraded_well
    check "apt removes it" inside apt-get remove -y trunkfs
    removed_well
    check "the configuration is kept" grep -q "an administrator's line" "$root/etc/trunkfs/config.yaml"
    check "apt installs it again" inside apt-get install -y --no-install-recommends "/tmp/trunkfs_$new-1_$arch.deb"
    same "and every file is there" "$before" "$(objects)"
    check "apt purges it" inside apt-get purge -y trunkfs
    says "and says where data lie" "are kept: /var/lib/trunkfs"
    check "the configuration is gone" ! test -e "$root/etc/trunkfs"
    check "the data are kept" test -s "$root/var/lib/trunkfs/metadata.sqlite"
    nothing_left ""
}

# Fedora and its like are not at hand: the package's files and scripts, in a Debian.
test_rpm() {
    packaging/build.sh "${build[@]}" --into "$work" --version "$old" deb rpm >/dev/null
    packaging/build.sh "${build[@]}" --into "$work" --version "$new" rpm >/dev/null
    local arch of_deb of_rpm
    arch=$(uname -m)
    of_deb=$(dpkg-deb -c "$work/trunkfs_$old-1_$(dpkg --print-architecture).deb" | awk '$1 ~ /^-/ { print substr($6, 2) }' |
        grep -vE '/(copyright|changelog.Debian.gz)$' | sed 's,/zsh/vendor-completions/,/zsh/site-functions/,' | sort)
    of_rpm=$(rpm -qpl "$work/trunkfs-$old-1.$arch.rpm" | grep -v '^/usr/share/licenses/' | sort)
    same "deb and rpm have the same files" "$of_deb" "$of_rpm"
    bare_debian rpm
    cp "$work"/trunkfs-*.rpm "$root/tmp/"
    installed_version() { rpm --root "$root" -q --queryformat '%{VERSION}' trunkfs; }
    of_root() { rpm --root "$root" --nodeps "$@"; }

    check "rpm installs it" of_root -i "$work/trunkfs-$old-1.$arch.rpm"
    installed_well
    used
    check "rpm upgrades it" of_root -U "$work/trunkfs-$new-1.$arch.rpm"
    upgraded_well
    check "rpm removes it" of_root -e trunkfs
    removed_well
    check "the changed configuration is kept" grep -q "an administrator's line" "$root/etc/trunkfs/config.yaml.rpmsave"
    # Folders of Fedora's own, which this root has not.
    rmdir "$root"/usr/share/{fish/vendor_completions.d,fish,zsh/site-functions,zsh,licenses} 2>/dev/null || true
    nothing_left $'./etc/trunkfs\n./etc/trunkfs/config.yaml.rpmsave'
}

old=$(sed -n '/^version = "\(.*\)"$/{s//\1/p;q}' Cargo.toml)
new=${old%.*}.$((${old##*.} + 1))
for kind in "${kinds[@]}"; do
    echo "== $kind: $old to $new"
    "test_$kind"
done
needed=$(objdump -T target/package/trunkfs | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1)
check "glibc $NEWEST_GLIBC is enough (the newest is $needed)" test "$(printf '%s\n' "GLIBC_$NEWEST_GLIBC" "$needed" | sort -V | tail -1)" = "GLIBC_$NEWEST_GLIBC"
echo "$checks checks passed"
