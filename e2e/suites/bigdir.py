#!/usr/bin/env python3
"""One folder with many entries: made, listed, changed while it is listed, and removed."""

import ctypes
import errno
import os
import subprocess

from cases import EMULATED, case, check, equal, join, main, note, parallel, refused, remount, write

MANY, SOME = (2_500, 1_200) if EMULATED else (10_000, 3_000)


def fill(d, count, prefix="file"):
    descriptor = os.open(d, os.O_RDONLY)
    for i in range(count):
        os.close(os.open("%s%05d" % (prefix, i), os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=descriptor))
    os.close(descriptor)
    return ["%s%05d" % (prefix, i) for i in range(count)]


@case
def many_entries_are_listed_each_once_and_removed(d):
    below = join(d, "many")
    os.mkdir(below)
    names = fill(below, MANY)
    equal(sorted(os.listdir(below)) == names, True, "every name once")
    remount()
    listed = os.listdir(below)
    equal(len(listed), MANY, "entries after a new mount")
    equal(sorted(listed) == names, True, "every name once after a new mount")
    inodes = {os.stat(join(below, name)).st_ino for name in names}
    equal(len(inodes), MANY, "different inode numbers")
    refused(errno.ENOTEMPTY, os.rmdir, below)
    subprocess.run(["rm", "-rf", below], check=True, timeout=200)
    refused(errno.ENOENT, os.stat, below)
    remount()
    equal(os.listdir(d), [])


@case
def a_listing_gives_types_and_inodes(d):
    fill(d, SOME)
    for i in range(0, SOME, 100):
        os.mkdir(join(d, "folder%05d" % i))
    remount()
    with os.scandir(d) as entries:
        listed = [(e.name, e.inode(), e.is_dir(follow_symlinks=False)) for e in entries]
    equal(len(listed), SOME + SOME // 100, "entries")
    for name, inode, is_folder in listed[::37]:
        s = os.lstat(join(d, name))
        equal((inode, is_folder), (s.st_ino, name.startswith("folder")), name)


@case
def entries_are_removed_while_they_are_listed(d):
    below = join(d, "many")
    os.mkdir(below)
    fill(below, SOME)
    remount()
    seen = 0
    with os.scandir(below) as entries:
        for entry in entries:
            os.unlink(join(below, entry.name))
            seen += 1
    equal(seen, SOME, "entries seen")
    equal(os.listdir(below), [])
    os.rmdir(below)


@case
def entries_made_meanwhile_hide_none(d):
    names = fill(d, SOME)
    remount()
    listed = []
    with os.scandir(d) as entries:
        for i, entry in enumerate(entries):
            listed.append(entry.name)
            if i % 10 == 0 and i < SOME:
                write(join(d, "new%05d" % i))
    old = [name for name in listed if name.startswith("file")]
    equal(len(old), SOME, "old entries seen")
    equal(sorted(old) == names, True, "every old name once")
    equal(len(listed), len(set(listed)), "names seen")


@case
def a_position_in_a_listing_can_be_returned_to(d):
    fill(d, SOME)
    remount()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.opendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    libc.opendir.argtypes = [ctypes.c_char_p]
    for function in (libc.readdir, libc.telldir, libc.closedir):
        function.argtypes = [ctypes.c_void_p]
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

    def rest(stream, most=1 << 30):
        names = []
        while len(names) < most and (entry := libc.readdir(stream)):
            names.append(ctypes.string_at(entry + 19))  # d_name follows ino, off, reclen and type
        return names

    stream = libc.opendir(os.fsencode(d))
    try:
        first = rest(stream, SOME // 3)
        place = libc.telldir(stream)
        after = rest(stream)
        equal(len(first) + len(after), SOME + 2, "entries, with . and ..")
        libc.seekdir(stream, place)
        equal(rest(stream) == after, True, "the same entries after seekdir")
        for name in first[SOME // 6 : SOME // 4]:
            if name not in (b".", b".."):
                os.unlink(os.path.join(os.fsencode(d), name))
        libc.seekdir(stream, place)
        equal(rest(stream) == after, True, "the same entries after others were removed")
    finally:
        libc.closedir(stream)


@case
def four_at_once_fill_and_empty_a_folder(d):
    def worker(which):
        names = fill(d, SOME // 4, "worker%d-" % which)
        have = set(os.listdir(d))
        check(have.issuperset(names), "a name just made is not listed")
        for name in names[::2]:
            os.unlink(join(d, name))

    parallel(*[lambda which=which: worker(which) for which in range(4)])
    remount()
    want = sorted("worker%d-%05d" % (w, i) for w in range(4) for i in range(1, SOME // 4, 2))
    equal(sorted(os.listdir(d)) == want, True, "what is left")
    subprocess.run(["rm", "-rf", d], check=True, timeout=100)


note("%d entries" % MANY)
main()
