#!/usr/bin/env bash
# A repository cloned, checked, changed and cloned again on the mount.
# shellcheck disable=SC2317 # the functions are called by name
# shellcheck source=e2e/suites/cases.sh
source "$E2E_REPO/e2e/suites/cases.sh"

export HOME=$E2E_LOCAL GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=$E2E_LOCAL/gitconfig GIT_TERMINAL_PROMPT=0
origin=$E2E_LOCAL/origin.git clone=$E2E_WORK/clone
cat >"$GIT_CONFIG_GLOBAL" <<'TEXT'
[user]
    name = Test
    email = test@example.org
[safe]
    directory = *
[init]
    defaultBranch = main
[gc]
    auto = 0
[protocol "file"]
    allow = always
TEXT

# 60 commits over 300 files in folders, a binary, a symbolic link, an executable: made by one process.
make_origin() {
    git init -q --bare "$origin"
    python3 - <<'PYTHON' | git -C "$origin" fast-import --quiet
import random, sys
source = random.Random(11)
out = sys.stdout.buffer
def put(path, data, mode=b"100644"):
    out.write(b"M %s inline %s\ndata %d\n%s\n" % (mode, path, len(data), data))
for n in range(60):
    out.write(b"commit refs/heads/main\ncommitter Test <test@example.org> %d +0000\ndata 7\nnum %03d\n" % (1_600_000_000 + n, n))
    for i in range(300 if n == 0 else 10):
        which = i if n == 0 else source.randrange(300)
        put(b"src/part%d/file%d.txt" % (which % 12, which), b"".join(b"line %d\n" % source.randrange(10**9) for _ in range(40)))
    if n == 0:
        put(b"binary", source.randbytes(3_000_000))
        put(b"link", b"src/part0/file0.txt", b"120000")
        put(b"run.sh", b"#!/bin/sh\nexit 0\n", b"100755")
    if n == 30:
        out.write(b"reset refs/heads/side\nfrom refs/heads/main\n\n")
out.write(b"done\n")
PYTHON
}

clone_it() {
    git clone -q "file://$origin" "$clone"
    [[ $(git -C "$clone" rev-parse HEAD) == $(git -C "$origin" rev-parse main) ]]
}

fsck() {
    git -C "$clone" fsck --full --strict --no-progress
}

working_tree_is_clean() {
    remount
    [[ -z $(git -C "$clone" status --porcelain) ]]
    [[ $(readlink "$clone/link") == src/part0/file0.txt ]]
    "$clone/run.sh"
}

# The content of every file, read anew, is the one the commit names.
files_are_those_of_the_commit() {
    remount
    git -C "$clone" ls-files -s | awk '$1 != "120000" { print $2 }' >"$E2E_LOCAL/want"
    (cd "$clone" && git ls-files -s | awk -F'\t' '$1 !~ /^120000/ { print $2 }' | git hash-object --stdin-paths --no-filters) >"$E2E_LOCAL/got"
    cmp "$E2E_LOCAL/want" "$E2E_LOCAL/got"
    [[ $(wc -l <"$E2E_LOCAL/got") == 302 ]]
}

switch_branches() {
    cd "$clone"
    git checkout -q side
    git checkout -q main
    git checkout -q side
    [[ -z $(git status --porcelain) ]]
    git checkout -q main
    [[ -z $(git status --porcelain) ]]
}

commit_and_push() {
    cd "$clone"
    printf 'changed\n' >src/part1/file1.txt
    git mv src/part2 src/moved
    git rm -q src/part3/file3.txt
    git add -A
    git commit -q -m "a change"
    git push -q origin main
    cd /
    [[ $(git -C "$origin" rev-parse main) == $(git -C "$clone" rev-parse HEAD) ]]
}

repack() {
    cd "$clone"
    git gc -q --prune=now
    git fsck --full --strict --no-progress
    [[ -z $(git status --porcelain) ]]
}

clone_on_the_mount() {
    git clone -q --no-hardlinks "$clone" "$E2E_WORK/second"
    git clone -q --local "$clone" "$E2E_WORK/third" # hard links to the first one's objects
    remount
    for copy in second third; do
        git -C "$E2E_WORK/$copy" fsck --full --no-progress
        diff -r --exclude=.git "$clone" "$E2E_WORK/$copy"
    done
}

remove() {
    rm -rf "$E2E_WORK/second" "$E2E_WORK/third"
    git -C "$clone" fsck --full --no-progress
    rm -rf "$clone"
    [[ -z $(ls -A "$E2E_WORK") ]]
}

check make_a_local_repository make_origin
check clone clone_it
check fsck fsck
check the_working_tree_is_clean working_tree_is_clean
check files_are_those_of_the_commit files_are_those_of_the_commit
check switch_branches switch_branches
check commit_and_push commit_and_push
check repack_and_fsck repack
check clone_on_the_mount clone_on_the_mount
check remove remove
plan
