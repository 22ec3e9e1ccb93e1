#!/usr/bin/env bash
# A tree of every kind of file goes onto the mount and back by tar: content and attributes stay.
# shellcheck disable=SC2317 # the functions are called by name
# shellcheck source=e2e/suites/cases.sh
source "$E2E_REPO/e2e/suites/cases.sh"

tree=$E2E_LOCAL/tree back=$E2E_LOCAL/back there=$E2E_WORK/tree archive=$E2E_LOCAL/tree.tar
manifest() { python3 "$E2E_REPO/e2e/suites/manifest.py" "$@"; }

make_a_tree() {
    mkdir "$tree"
    manifest make "$tree"
    manifest list "$tree" >"$E2E_LOCAL/want"
    [[ $(wc -l <"$E2E_LOCAL/want") -gt 170 ]]
    tar -C "$tree" --sparse -cf "$archive" .
}

extract() {
    mkdir "$there"
    tar -C "$there" --numeric-owner -p -xf "$archive"
}

same_on_the_mount() {
    remount
    manifest list "$there" >"$E2E_LOCAL/got"
    diff "$E2E_LOCAL/want" "$E2E_LOCAL/got"
}

compare() {
    tar -C "$there" --numeric-owner --compare -f "$archive"
}

back_again() {
    mkdir "$back"
    tar -C "$there" --numeric-owner -cf "$E2E_LOCAL/second.tar" .
    tar -C "$back" --numeric-owner -p -xf "$E2E_LOCAL/second.tar"
    manifest list "$back" >"$E2E_LOCAL/got"
    diff "$E2E_LOCAL/want" "$E2E_LOCAL/got"
}

archive_on_the_mount() {
    tar -C "$tree" -czf "$E2E_WORK/tree.tar.gz" .
    remount
    rm -rf "$back"
    mkdir "$back"
    tar -C "$back" --numeric-owner -p -xzf "$E2E_WORK/tree.tar.gz"
    manifest list "$back" >"$E2E_LOCAL/got"
    diff "$E2E_LOCAL/want" "$E2E_LOCAL/got"
}

extract_over_it() {
    tar -C "$there" --numeric-owner -p -xf "$archive"
    manifest list "$there" >"$E2E_LOCAL/got"
    diff "$E2E_LOCAL/want" "$E2E_LOCAL/got"
}

copy_with_cp() {
    cp -a "$there" "$E2E_WORK/copy"
    remount
    manifest list "$E2E_WORK/copy" >"$E2E_LOCAL/got"
    diff "$E2E_LOCAL/want" "$E2E_LOCAL/got"
}

remove() {
    rm -rf "$there" "$E2E_WORK/copy" "$E2E_WORK/tree.tar.gz"
    [[ -z $(ls -A "$E2E_WORK") ]]
}

check make_a_tree make_a_tree
check extract extract
check content_and_attributes_are_those_of_the_tree same_on_the_mount
check compare_with_the_archive compare
check back_again back_again
check an_archive_on_the_mount archive_on_the_mount
check extract_over_what_is_there extract_over_it
check copy_with_all_attributes copy_with_cp
check remove remove
plan
