#!/usr/bin/env bash
# Makes the packages of a release (docs/packages.md).
#
#   packaging/build.sh [--binary FILE] [--version VERSION] [--into FOLDER] [--fast] [deb] [rpm] [tar]
#
# Without a kind all three, into target/packages.
# --binary takes a program that is built already; without it `cargo build --release` makes one. The program runs on systems with
# the C library of the machine that built it, or a newer one: releases are built on the oldest Debian that is supported.
# cargo-deb, cargo-generate-rpm, dpkg-deb and strip are needed. SOURCE_DATE_EPOCH, by default the time of the commit, is the
# time of all files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary='' version='' out=target/packages fast_deb=() fast_rpm=() kinds=()
while (($#)); do
    case $1 in
        --binary) binary=$2 && shift ;;
        --version) version=$2 && shift ;;
        --fast) fast_deb=(--fast) fast_rpm=(--payload-compress none) ;;
        --into) out=$2 && shift ;;
        deb | rpm | tar) kinds+=("$1") ;;
        *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    esac
    shift
done
((${#kinds[@]})) || kinds=(deb rpm tar)
version=${version:-$(sed -n '/^version = "\(.*\)"$/{s//\1/p;q}' Cargo.toml)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
if [[ -z $binary ]]; then
    cargo build --release --locked --bin trunkfs
    binary=${CARGO_TARGET_DIR:-target}/release/trunkfs
fi

# What the two lists of Cargo.toml take from target/package: the program without symbols, and what it says of itself.
stage=target/package
rm -rf "$stage"
mkdir -p "$stage/completion" "$out"
strip -o "$stage/trunkfs" "$binary"
"$stage/trunkfs" man --into "$stage/man"
gzip -9n "$stage"/man/*.1
"$stage/trunkfs" completion bash >"$stage/completion/trunkfs"
"$stage/trunkfs" completion zsh >"$stage/completion/_trunkfs"
"$stage/trunkfs" completion fish >"$stage/completion/trunkfs.fish"
maintainer=$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)
gzip -9nc >"$stage/changelog.Debian.gz" <<TEXT
trunkfs ($version-1) unstable; urgency=medium

  * Release $version. CHANGELOG.md beside this file says what is new.

 -- $maintainer  $(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" -R)
TEXT

# The licences of the crates that the program is made of, each text once, after the names of those that have it: what they ask
# of whoever gives the program to others.
licenses() {
    local name version rest folder file sum
    declare -A crates=() texts=()
    while read -r name version rest; do
        folder=$(echo "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$name-${version#v}")
        for file in "$folder"/{LICENSE,LICENCE,COPYING,COPYRIGHT,NOTICE,UNLICENSE}*; do
            [[ -f $file ]] || continue
            sum=$(sha256sum <"$file")
            texts[$sum]=$file
            crates[$sum]+="$name ${version#v} ($rest), ${file##*/}"$'\n'
        done
    done < <(cargo tree --locked --edges normal --prefix none --no-dedupe --format '{p} {l}' | grep -v ' (/' | sort -u)
    for sum in "${!texts[@]}"; do
        printf '%s\n' "${crates[$sum]}" "$(<"${texts[$sum]}")" '' ''
    done | sed 's/\r$//'
}
licenses | gzip -9n >"$stage/third-party-licenses.txt.gz"
gzip -dc "$stage/third-party-licenses.txt.gz" | grep '^tokio 1' >/dev/null || { echo "the licences of crates are not found" >&2 && exit 1; }

deb() {
    cargo deb --no-build --no-strip --quiet "${fast_deb[@]}" --deb-version "$version-1" --output "$out/"
}

rpm() {
    # A version of rpm has no hyphen: that of a candidate (1.0.0-rc.1) sorts before the release with a tilde.
    cargo generate-rpm "${fast_rpm[@]}" --set-metadata "version = \"${version//-/\~}\"" --output "$out/"
}

# The files of the deb, to be unpacked into /usr/local.
tarball() {
    local arch name tree
    arch=$(dpkg --print-architecture)
    name=trunkfs-$version-linux-$arch
    tree=$(mktemp -d)
    dpkg-deb -x "$out/trunkfs_$version-1_$arch.deb" "$tree/deb"
    mv "$tree/deb/usr" "$tree/$name"
    mv "$tree/deb/etc/trunkfs/config.yaml" "$tree/$name/share/doc/trunkfs/examples/config.yaml"
    chmod 644 "$tree/$name/share/doc/trunkfs/examples/config.yaml"
    mv "$tree/$name/share/zsh/vendor-completions" "$tree/$name/share/zsh/site-functions"
    sed -i 's,/usr/bin/trunkfs,/usr/local/bin/trunkfs,' "$tree/$name/lib/systemd/system/trunkfs.service"
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$tree" -c "$name" |
        gzip -9n >"$out/$name.tar.gz"
    rm -rf "$tree"
}

for kind in "${kinds[@]}"; do
    case $kind in
        deb) deb ;;
        rpm) rpm ;;
        tar)
            [[ " ${kinds[*]} " == *" deb "* ]] || deb
            tarball
            ;;
    esac
done
ls -l "$out"
