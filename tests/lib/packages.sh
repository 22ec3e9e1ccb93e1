# Packages of Debian and Ubuntu: sourced by tests/lib/postgres.sh.
#
#   apt_install PACKAGE…   install them at once, as root; status 1 where that cannot be done
#
# The services of new packages are neither started nor enabled: tests bring servers of their own.
#
# shellcheck shell=bash

# Units that packages of the tests and the e2e suites enable.
APT_UNITS=(postgresql.service pgbouncer.service rpcbind.service rpcbind.socket)
APT_CLUSTER=/etc/postgresql-common/createcluster.d/trunkfs-tests.conf
APT_POLICY=/usr/sbin/policy-rc.d

# Packages are installed as root only: everywhere else the caller says which are missing.
apt_install() {
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        return 1
    fi
    echo "installing by apt, without starting services: $*" >&2
    # A shell of its own, whose end undoes the settings of the installation whatever ends it.
    (
        trap apt_settings_drop EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM HUP
        apt_settings_make || exit 1
        log=$APT_KEPT/log
        apt_get "$@" >"$log" 2>&1 || { apt-get update && apt_get "$@"; } </dev/null >"$log" 2>&1 || {
            tail -n 20 "$log" >&2
            exit 1
        }
        apt_units_disable
    )
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# No service of a new package is started (policy-rc.d, which refuses that), and PostgreSQL's package makes no cluster.
apt_settings_make() {
    APT_KEPT=$(mktemp -d) APT_NEW_UNITS=()
    local unit
    for unit in "${APT_UNITS[@]}"; do
        apt_unit_is_there "$unit" || APT_NEW_UNITS+=("$unit")
    done
    mkdir -p "${APT_CLUSTER%/*}"
    echo "create_main_cluster = false" >"$APT_CLUSTER"
    if [[ -e $APT_POLICY || -L $APT_POLICY ]]; then mv "$APT_POLICY" "$APT_KEPT/policy-rc.d"; fi
    # Services that run already are restarted by upgrades, as the machine's own policy has it.
    cat >"$APT_POLICY" <<TEXT
#!/bin/sh
case " \$* " in *" start "*) exit 101 ;; esac
[ ! -x "$APT_KEPT/policy-rc.d" ] || exec "$APT_KEPT/policy-rc.d" "\$@"
TEXT
    chmod 755 "$APT_POLICY"
}

apt_settings_drop() {
    [[ -n ${APT_KEPT:-} ]] || return 0
    rm -f "$APT_POLICY" "$APT_CLUSTER"
    # postgresql-common, where it is installed, wants its folder.
    [[ -e ${APT_CLUSTER%.d/*}.conf ]] || rmdir -p "${APT_CLUSTER%/*}" 2>/dev/null || true
    if [[ -e $APT_KEPT/policy-rc.d || -L $APT_KEPT/policy-rc.d ]]; then mv "$APT_KEPT/policy-rc.d" "$APT_POLICY"; fi
    rm -rf "$APT_KEPT"
}

apt_unit_is_there() {
    local folder
    for folder in /etc/systemd/system /lib/systemd/system /usr/lib/systemd/system; do
        [[ ! -e $folder/$1 ]] || return 0
    done
    return 1
}

# A new service would start with the machine.
apt_units_disable() {
    local unit
    for unit in "${APT_NEW_UNITS[@]}"; do
        if apt_unit_is_there "$unit"; then systemctl disable --quiet "$unit" >/dev/null 2>&1 || true; fi
    done
}
