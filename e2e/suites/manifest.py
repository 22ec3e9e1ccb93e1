#!/usr/bin/env python3
"""manifest.py make FOLDER: a tree of every kind of file. manifest.py list FOLDER: one line per file with all that
an archive keeps of it (kind, mode, owner, size, time, links, checksum), in the order of the names."""

import hashlib
import os
import random
import stat
import sys


def make(top):
    source = random.Random(3)
    for i in range(12):
        below = os.path.join(top, "folder%d" % i, "deeper")
        os.makedirs(below)
        for j in range(12):
            path = os.path.join(below, "file %d" % j)
            with open(path, "wb") as file:
                file.write(source.randbytes(source.choice([0, 1, 100, 4096, 70_000, 300_000])))
            os.chown(path, 1000 + i, 2000 + j)
            os.chmod(path, source.choice([0o600, 0o644, 0o755, 0o4755, 0o2750, 0o444]))
            os.utime(path, ns=(source.randrange(1 << 61), source.randrange(1, 4_000_000_000) * 10**9))
    os.symlink("folder0/deeper/file 0", os.path.join(top, "link"))
    os.symlink("nowhere", os.path.join(top, "dangling"))
    os.mkfifo(os.path.join(top, "fifo"))
    os.mknod(os.path.join(top, "device"), stat.S_IFCHR | 0o640, os.makedev(12, 34))
    for i in range(3):
        os.link(os.path.join(top, "folder1", "deeper", "file 1"), os.path.join(top, "hard%d" % i))
    with open(os.path.join(top, "sparse"), "wb") as file:
        file.truncate(10_000_000)
        file.seek(6_000_000)
        file.write(b"in the middle")
    with open(os.path.join(top, "n" * 200), "wb") as file:
        file.write(b"a long name")
    with open(os.path.join(os.fsencode(top), b"\xc3\xa4\xff"), "wb") as file:
        file.write(b"no encoding")
    for path, _, _ in os.walk(top, topdown=False):
        os.chmod(path, source.choice([0o700, 0o755, 0o1777, 0o2775]))
        os.utime(path, (1_234_567_890, source.randrange(1_500_000_000)))


def lines(top):
    for path, folders, files in sorted(os.walk(top)):
        for name in [""] + sorted(files) + sorted(f for f in folders if os.path.islink(os.path.join(path, f))):
            full = os.path.join(path, name) if name else path
            s = os.lstat(full)
            what = "-"
            if stat.S_ISREG(s.st_mode):
                with open(full, "rb") as file:
                    what = hashlib.sha256(file.read()).hexdigest()
            elif stat.S_ISLNK(s.st_mode):
                what = repr(os.readlink(full))
            elif stat.S_ISCHR(s.st_mode):
                what = "%d:%d" % (os.major(s.st_rdev), os.minor(s.st_rdev))
            size = s.st_size if stat.S_ISREG(s.st_mode) else "-"
            links = s.st_nlink if not stat.S_ISDIR(s.st_mode) else "-"
            mtime = "-" if stat.S_ISLNK(s.st_mode) else int(s.st_mtime)
            yield "%r %o %d:%d %s %s %s %s" % (os.path.relpath(full, top), s.st_mode, s.st_uid, s.st_gid, size, mtime, links, what)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        print("\n".join(lines(sys.argv[2])))
