#!/usr/bin/env python3
"""Disks that are full, or take no changes. Programs are told at once, nothing that was safe is lost, files can be removed,
and when there is room again all goes on: under the same mount, with the same server.

With sqlite, names and bytes share one disk of 48 MiB; with postgres, the bytes have one and the database another."""

import errno
import os
import random
import time

from cases import Failed, case, check, equal, folder, join, main, read, refused, server, write

MIB = 1 << 20
DISK = 48 * MIB
SQLITE = os.environ["E2E_CONFIG"].startswith("sqlite-")


def data(seed, size):
    return random.Random(seed).randbytes(size)


def save(path, content):
    """Safe when it returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        put(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put(descriptor, content):
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def stored(path):
    """What the server has, and not the client's cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    return read(path)


def soon(number, function, *arguments):
    """Does it as soon as it is no longer refused with this errno."""
    end = time.monotonic() + 60
    while True:
        try:
            return function(*arguments)
        except OSError as error:
            if error.errno != number or time.monotonic() > end:
                raise
        time.sleep(0.1)


def grow(path):
    """Makes a file longer until the disk is full. Answers how many MiB were safe before."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    safe = 0
    try:
        while safe * MIB < 2 * DISK:
            put(descriptor, data(safe, MIB))
            os.fsync(descriptor)
            safe += 1
    except OSError as error:
        equal(error.errno, errno.ENOSPC, "errno")
        return safe
    finally:
        try:
            os.close(descriptor)
        except OSError as error:
            equal(error.errno, errno.ENOSPC, "errno of close")
    raise Failed("the disk is never full")


@case
def whoever_writes_is_told_and_nothing_safe_is_lost(d):
    kept = {join(d, "kept%d" % i): data(100 + i, 300_000 * (i + 1)) for i in range(4)}
    for path, content in kept.items():
        save(path, content)
    late = [write(join(d, "late%d" % i)) for i in range(3)]
    big = join(d, "big")
    safe = grow(big)
    check(safe >= 20, "only %d MiB were written" % safe)

    def at_write():
        descriptor = os.open(late[0], os.O_WRONLY | os.O_DSYNC)
        try:
            put(descriptor, data(1, MIB))
        finally:
            os.close(descriptor)

    def at_fsync():
        descriptor = os.open(late[1], os.O_WRONLY)
        put(descriptor, data(1, MIB))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def at_close():
        descriptor = os.open(late[2], os.O_WRONLY)
        put(descriptor, data(1, MIB))
        os.close(descriptor)

    for told in (at_write, at_fsync, at_close):
        refused(errno.ENOSPC, told)
    s = os.statvfs(d)
    check(s.f_bavail * s.f_frsize < 2 * MIB, "%d blocks are free" % s.f_bavail)
    for path, content in kept.items():
        equal(stored(path) == content, True, "the content of " + path)
    got = stored(big)
    for i in range(safe):
        equal(got[i * MIB : (i + 1) * MIB] == data(i, MIB), True, "MiB %d of the file that grew" % i)
    os.unlink(big)
    again = join(d, "again")
    soon(errno.ENOSPC, save, again, data(7, 10 * MIB))
    equal(stored(again) == data(7, 10 * MIB), True, "what was written when there was room again")
    for path in late:
        soon(errno.ENOSPC, save, path, data(8, MIB))
        equal(stored(path) == data(8, MIB), True, "the content of " + path)
    for path, content in kept.items():
        equal(stored(path) == content, True, "the content of %s, later" % path)


@case
def what_has_its_blocks_is_written_anew(d):
    path = join(d, "file")
    save(path, data(1, MIB))
    server("fill-disk")
    descriptor = os.open(path, os.O_WRONLY)
    os.pwrite(descriptor, data(2, MIB // 2), 0)
    os.fsync(descriptor)
    os.close(descriptor)
    equal(stored(path) == data(2, MIB // 2) + data(1, MIB)[MIB // 2 :], True, "the content")
    os.truncate(path, 1000)
    equal(stored(path) == data(2, 1000), True, "what is left of it")
    server("free-disk")


@case
def a_server_that_starts_on_a_full_disk_serves_it(d):
    paths = [join(d, "file%d" % i) for i in range(20)]
    for i, path in enumerate(paths):
        save(path, data(i, 50_000))
    server("fill-disk")
    server("kill")
    server("start")
    for i, path in enumerate(paths[:10]):
        equal(stored(path) == data(i, 50_000), True, "the content of " + path)
        os.unlink(path)
    server("stop")
    server("start")
    for i, path in enumerate(paths[10:], 10):
        equal(stored(path) == data(i, 50_000), True, "the content of " + path)
        os.unlink(path)
    equal(os.listdir(d), [])
    server("free-disk")
    soon(errno.ENOSPC, save, paths[0], data(1, MIB))
    equal(stored(paths[0]) == data(1, MIB), True, "what was written when there was room again")


@case
def content_that_takes_no_changes_is_read(d):
    path = join(d, "file")
    save(path, data(1, 100_000))
    # What the server has open for writing would keep the disk from becoming read-only.
    server("stop")
    server("start")
    server("content-read-only")
    equal(stored(path) == data(1, 100_000), True, "the content")
    descriptor = os.open(path, os.O_WRONLY)
    os.pwrite(descriptor, b"new", 0)
    refused(errno.EROFS, os.fsync, descriptor)
    os.close(descriptor)
    equal(stored(path) == data(1, 100_000), True, "the content, afterwards")
    server("content-writable")
    soon(errno.EROFS, save, path, data(2, 200_000))
    equal(stored(path) == data(2, 200_000), True, "what was written when it was writable again")


if SQLITE:

    @case
    def names_are_removed_and_not_made(d):
        files = [write(join(d, "file%d" % i), data(i, 20_000)) for i in range(300)]
        below = folder(join(d, "below"))
        server("fill-disk")
        new = join(d, "new")
        for _ in range(20):
            refused(errno.ENOSPC, os.open, new, os.O_WRONLY | os.O_CREAT)
            refused(errno.ENOSPC, os.mkdir, new)
            refused(errno.ENOSPC, os.symlink, "target", new)
            refused(errno.ENOSPC, os.link, files[0], new)
            refused(errno.ENOSPC, os.mkfifo, new)
        refused(errno.EEXIST, os.mkdir, files[0])
        os.chmod(files[0], 0o600)
        os.rename(files[0], join(below, "moved"))
        # Its name stays, under another, as long as it is open.
        kept = os.open(files[1], os.O_RDONLY)
        for path in files[1:]:
            os.unlink(path)
        equal(os.pread(kept, 20_000, 0) == data(1, 20_000), True, "the content of a removed file that is open")
        os.close(kept)
        equal(stored(join(below, "moved")) == data(0, 20_000), True, "the content of the file that was moved")
        # Their 6 MB are room enough.
        soon(errno.ENOSPC, os.mkdir, new)
        os.rmdir(new)
        server("free-disk")
        for i in range(50):
            soon(errno.ENOSPC, write, join(d, "later%d" % i), data(i, 5000))
        equal(len(os.listdir(d)), 51)

else:

    @case
    def a_full_database_refuses_what_needs_room(d):
        for i in range(20):
            save(join(d, "before%d" % i), data(i, 5000))
        server("fill-database")
        made = 0
        try:
            while made < 5000:
                os.mkdir(join(d, "during%d" % made))
                made += 1
        except OSError as error:
            equal(error.errno, errno.ENOSPC, "errno")
        check(made < 5000, "the database is never full")
        for i in range(20):
            equal(stored(join(d, "before%d" % i)) == data(i, 5000), True, "the content of file %d" % i)
        equal(len(os.listdir(d)), 20 + made, "names")
        server("free-database")
        soon(errno.ENOSPC, os.mkdir, join(d, "after"))
        for i in range(20):
            save(join(d, "after%d" % i), data(i, 5000))
        equal(len(os.listdir(d)), 41 + made, "names")

    @case
    def a_database_that_takes_no_changes_is_read(d):
        save(join(d, "before"), data(1, 5000))
        server("database-read-only")
        refused(errno.EROFS, os.mkdir, join(d, "during"))
        refused(errno.EROFS, os.unlink, join(d, "before"))
        equal(stored(join(d, "before")) == data(1, 5000), True, "the content")
        server("database-writable")
        soon(errno.EROFS, os.mkdir, join(d, "after"))
        os.unlink(join(d, "before"))
        equal(os.listdir(d), ["after"])


main()
