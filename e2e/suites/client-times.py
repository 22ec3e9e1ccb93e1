#!/usr/bin/env python3
"""How long programs take on a mount, for benches/kernel-client.sh: a source tree unpacked by tar, a repository cloned by git, 10,000
small files copied, listed, read and removed. Each case begins on a fresh mount and ends with `sync`; it prints "time NAME SECONDS"."""

import os
import random
import subprocess
import time

from cases import LOCAL, WORK, case, equal, folder, join, main, remount, write

REPO = os.environ["E2E_REPO"]
FOLDERS, FILES, SIZE = 100, 100, 4096
SMALL = join(LOCAL, "small")
COPY = join(WORK, "copy")
NO_CONFIGURATION = {"HOME": LOCAL, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}


def run(*command, **named):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **named)


def timed(name, work):
    remount()
    begin = time.monotonic()
    work()
    # What the client has not sent yet counts too.
    os.sync()
    print("time %s %.2f" % (name, time.monotonic() - begin), flush=True)


def count(path):
    return sum(len(files) for _, _, files in os.walk(path))


def read_all(path):
    for place, _, files in os.walk(path):
        for name in files:
            with open(join(place, name), "rb") as file:
                file.read()


@case
def tar_x(d):
    archive, there = join(LOCAL, "source.tar"), join(d, "source")
    run("tar", "-C", REPO, "--exclude=./target", "--exclude=./.git", "-cf", archive, ".")
    folder(there)
    timed("tar_x", lambda: run("tar", "-C", there, "-xf", archive))
    files = subprocess.run(["tar", "-tf", archive], check=True, capture_output=True).stdout.splitlines()
    equal(count(there), sum(not name.endswith(b"/") for name in files), "files of the source tree")
    timed("rm_rf_source", lambda: run("rm", "-rf", there))


@case
def git_clone(d):
    origin, clone = join(LOCAL, "origin.git"), join(d, "clone")
    environment = dict(os.environ, **NO_CONFIGURATION)
    run("git", "init", "-q", "--bare", "--initial-branch=main", origin, env=environment)
    source = random.Random(11)
    importing = subprocess.Popen(["git", "-C", origin, "fast-import", "--quiet"], stdin=subprocess.PIPE, env=environment)
    out = importing.stdin
    for number in range(20):
        out.write(b"commit refs/heads/main\ncommitter T <t@example.org> %d +0000\ndata 1\nc\n" % (1_600_000_000 + number))
        for which in range(2000) if number == 0 else source.sample(range(2000), 100):
            data = b"".join(b"line %d\n" % source.randrange(10**9) for _ in range(100))
            out.write(b"M 100644 inline part%d/file%d.txt\ndata %d\n%s\n" % (which % 40, which, len(data), data))
    out.close()
    equal(importing.wait(), 0, "the status of fast-import")
    command = ["git", "clone", "-q", "-c", "core.fsync=none", "file://" + origin, clone]
    timed("git_clone", lambda: run(*command, env=environment))
    timed("git_status", lambda: run("git", "-C", clone, "status", "--short", env=environment))
    equal(count(join(clone, "part0")), 50, "files of a folder")


@case
def cp_a(_):
    folder(SMALL)
    for place in range(FOLDERS):
        folder(join(SMALL, "d%d" % place))
        for number in range(FILES):
            write(join(SMALL, "d%d" % place, "f%d" % number), random.Random(number).randbytes(SIZE))
    timed("cp_a", lambda: run("cp", "-a", SMALL, COPY))
    equal(count(COPY), FOLDERS * FILES, "files of the copy")


@case
def find_ls(_):
    timed("find_ls", lambda: run("find", COPY, "-ls", stdout=subprocess.DEVNULL))


@case
def read_small(_):
    timed("read", lambda: read_all(COPY))


@case
def rm_rf(_):
    timed("rm_rf", lambda: run("rm", "-rf", COPY))
    equal(os.path.exists(COPY), False, "whether the copy is there")


main()
