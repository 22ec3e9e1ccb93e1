#!/usr/bin/env python3
"""A share's metadata goes from SQLite to PostgreSQL and back by dump and load, under a hard mount that stays. Files
stay open, attributes, file numbers and handles are the same, and so is every byte.

E2E_FILES says how many files the tree has."""

import ctypes
import os
import random

from cases import Failed, case, check, equal, folder, join, main, parallel, read, remount, server, write

FILES = int(os.environ.get("E2E_FILES") or 1000)
FOLDER = 500  # files of a folder
WRITERS = 8
LIBC = ctypes.CDLL(None, use_errno=True)


def handle(path):
    """What the client knows the file by (name_to_handle_at(2)); the server's handle is in it."""

    class Handle(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]

    found, mount = Handle(bytes=128), ctypes.c_int()
    if LIBC.name_to_handle_at(-100, os.fsencode(path), ctypes.byref(found), ctypes.byref(mount), 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    check(found.bytes >= 32, "a handle of %d bytes" % found.bytes)
    return found.type, bytes(found.data[: found.bytes])


def content(i):
    return random.Random(i).randbytes((0, 1, 40, 300, 5000)[i % 5])


def make_tree(top):
    """FILES files in folders of FOLDER, and some of every other kind."""

    def fill(writer):
        for start in range(writer * FOLDER, FILES, WRITERS * FOLDER):
            below = join(top, "folder%d" % (start // FOLDER))
            os.mkdir(below)
            for i in range(start, min(start + FOLDER, FILES)):
                path = write(join(below, "file %d" % i), content(i), 0o400 + i % 0o377)
                if i % 10 == 0:
                    os.chown(path, 1000 + i % 7, 2000 + i % 11)
                if i % 100 == 0:
                    os.link(path, join(below, "hard %d" % i))
                    os.symlink("file %d" % i, join(below, "link %d" % i))
                    os.mkfifo(join(below, "fifo %d" % i))
                    os.utime(path, ns=(10**9 * i + 1, 10**9 * i + 2))

    parallel(*(lambda writer=writer: fill(writer) for writer in range(WRITERS)))


def listed(top):
    """Every attribute of everything below, and its handle. Nothing is read, so no access time moves."""
    found = {}
    for path, folders, files in os.walk(top):
        for full in [path] + [join(path, name) for name in files]:
            s = os.lstat(full)
            found[os.path.relpath(full, top)] = (
                handle(full), s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size, s.st_rdev,
                s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns,
            )  # fmt: skip
    return found


def same(before, after, where):
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            raise Failed("%s, %s is %r, and was %r" % (where, path, after.get(path), before.get(path)))


def check_contents(top):
    for i in range(FILES):
        got = read(join(top, "folder%d" % (i // FOLDER), "file %d" % i))
        equal(got == content(i), True, "the content of file %d" % i)


@case
def a_tree_moves_to_postgresql_and_back(d):
    make_tree(d)
    remount()
    before = listed(d)
    check(len(before) >= FILES, "only %d files" % len(before))
    for where in ["in PostgreSQL", "back in SQLite"]:
        server("move", 60 + FILES // 100)
        # What the client still knows of the tree is held against the server, then nothing is known.
        same(before, listed(d), where)
        remount()
        same(before, listed(d), where + " on a new mount")
    check_contents(d)


@case
def open_files_and_folders_go_on(d):
    below = folder(join(d, "below"))
    for i in range(400):
        write(join(below, "file%d" % i), b"%d" % i)
    kept = os.open(write(join(d, "kept"), b"before "), os.O_RDWR | os.O_APPEND)
    gone = os.open(write(join(d, "gone"), b"still here"), os.O_RDWR)
    os.unlink(join(d, "gone"))
    os.chdir(below)
    names = os.scandir(below)
    seen = [next(names).name for _ in range(100)]
    for store in [b"postgresql ", b"sqlite "]:
        server("move")
        os.write(kept, store)
        os.fsync(kept)
        equal(os.pread(gone, 100, 0), b"still here", "a removed file that is open")
        equal(read("file7"), b"7", "a file of the working folder")
        write(store.decode().strip(), store)
    seen += [entry.name for entry in names]
    for name in ["file%d" % i for i in range(400)]:
        equal(seen.count(name), 1, "how often the listing has %s" % name)
    os.close(kept)
    os.close(gone)
    remount()
    equal(read(join(d, "kept")), b"before postgresql sqlite ")
    equal(sorted(os.listdir(d)), ["below", "kept"])
    equal(len(os.listdir(below)), 402)


@case
def what_changed_in_the_other_store_comes_back(d):
    write(join(d, "a"), b"a")
    write(join(d, "b"), b"b")
    server("move")
    os.rename(join(d, "a"), join(d, "c"))
    os.unlink(join(d, "b"))
    os.mkdir(join(d, "new"))
    write(join(d, "new", "file"), b"new")
    os.truncate(join(d, "c"), 0)
    server("move")
    remount()
    equal(sorted(os.listdir(d)), ["c", "new"])
    equal((read(join(d, "c")), read(join(d, "new", "file"))), (b"", b"new"))
    numbers = {os.stat(join(d, name)).st_ino for name in ["c", "new", join("new", "file")]}
    write(join(d, "later"), b"")
    check(os.stat(join(d, "later")).st_ino not in numbers, "a file number is used twice")


main()
