# What a run needs from the machine: found, installed by apt as root on Debian and Ubuntu, named elsewhere.
# shellcheck shell=bash

# need PROGRAM PACKAGE: installs the Debian package that has the program unless it is there.
need() {
    local program=$1 package=$2
    command -v "$program" >/dev/null && return
    apt_install "$package" || true
    command -v "$program" >/dev/null && return
    echo "e2e: $program is needed and missing (Debian and Ubuntu: package $package)." >&2
    return 1
}

# As the one who called sudo: what is built must not belong to root, and cargo is in that user's home.
as_invoker() {
    local user=${SUDO_USER:-} home
    if ((EUID == 0)) && [[ -n $user && $user != root ]]; then
        home=$(getent passwd "$user" | cut -d: -f6)
        setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups -- \
            env HOME="$home" PATH="$home/.cargo/bin:$PATH" "$@"
    else
        env PATH="${HOME:-/root}/.cargo/bin:$PATH" "$@"
    fi
}

packages_for_suites() {
    local wanted missing=()
    local all=(mount.nfs:nfs-common ip:iproute2 setpriv:util-linux python3:python3 git:git tar:tar modprobe:kmod rpcbind:rpcbind)
    for wanted in "${all[@]}"; do
        command -v "${wanted%:*}" >/dev/null || missing+=("${wanted#*:}")
    done
    # All at once; what cannot be installed is named below.
    if ((${#missing[@]})); then apt_install "${missing[@]}" || true; fi
    for wanted in "${all[@]}"; do need "${wanted%:*}" "${wanted#*:}"; done
}

# One version, or the list of known failures would not be that of the tests.
PJDFSTEST=0.2.2

pjdfstest_build() {
    local tools=$REPO/target/e2e-tools
    [[ -x $tools/bin/pjdfstest ]] && "$tools/bin/pjdfstest" --version | grep -qF "$PJDFSTEST" && return
    need cc gcc
    echo "e2e: building pjdfstest $PJDFSTEST"
    as_invoker mkdir -p "$tools"
    as_invoker cargo install pjdfstest --version "$PJDFSTEST" --locked --quiet --root "$tools" --target-dir "$tools/build"
    rm -rf "$tools/build"
}

# The programs of the kernel's own NFS server, unpacked and not installed: installing would start it.
knfsd_fetch() {
    local tools=$REPO/target/e2e-tools
    need rpcbind rpcbind
    [[ -x $tools/knfsd/usr/sbin/rpc.mountd ]] && return
    mkdir -p "$tools/knfsd"
    (cd "$tools/knfsd" && apt-get download nfs-kernel-server >/dev/null 2>&1 && dpkg-deb -x nfs-kernel-server_*.deb .) || {
        echo "e2e: --config knfsd needs Debian's package nfs-kernel-server (apt-get download failed)" >&2
        return 1
    }
}
