#!/usr/bin/env python3
"""Every basic operation of a file system, one client."""

import errno
import os
import stat
import time

from cases import MOUNT, case, check, digest, equal, folder, join, main, mode_of, read, refused, remount, wait_for, write

# A server's clock may be as coarse as a kernel's timer.
TICK = 0.02


@case
def the_mount_is_nfs_version_3_over_tcp(d):
    with open("/proc/mounts", encoding="utf-8") as mounts:
        line = [m.split() for m in mounts if m.split()[1] == MOUNT][-1]
    equal(line[2], "nfs", "file system type")
    check("vers=3" in line[3].split(","), "not version 3: " + line[3])
    check("proto=tcp" in line[3].split(","), "not TCP: " + line[3])


@case
def create_and_read_back(d):
    path = write(join(d, "file"), b"some bytes\n")
    equal(read(path), b"some bytes\n")
    remount()
    equal(read(path), b"some bytes\n", "content after a new mount")


@case
def a_new_file_has_the_attributes_asked_for(d):
    path = join(d, "file")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o640))
    s = os.stat(path)
    check(stat.S_ISREG(s.st_mode), "not a regular file")
    equal((stat.S_IMODE(s.st_mode), s.st_size, s.st_nlink, s.st_uid, s.st_gid), (0o640, 0, 1, 0, 0))


@case
def what_does_not_exist_is_enoent(d):
    refused(errno.ENOENT, os.stat, join(d, "none"))
    refused(errno.ENOENT, os.open, join(d, "none"), os.O_RDONLY)
    refused(errno.ENOENT, os.unlink, join(d, "none"))
    refused(errno.ENOENT, os.rmdir, join(d, "none"))
    refused(errno.ENOENT, os.mkdir, join(d, "none", "below"))


@case
def an_exclusive_create_succeeds_once(d):
    path = join(d, "file")
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    equal(mode_of(path), 0o600, "mode")
    refused(errno.EEXIST, os.open, path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    remount()
    refused(errno.EEXIST, os.open, path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)


@case
def create_opens_what_is_there_and_keeps_it(d):
    path = write(join(d, "file"), b"kept", 0o604)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o777))
    equal((read(path), mode_of(path)), (b"kept", 0o604))


@case
def overwrite_in_the_middle(d):
    path = write(join(d, "file"), b"0123456789")
    descriptor = os.open(path, os.O_RDWR)
    equal(os.pwrite(descriptor, b"abc", 4), 3)
    equal(os.pread(descriptor, 100, 2), b"23abc789")
    os.close(descriptor)
    remount()
    equal(read(path), b"0123abc789")


@case
def make_and_remove_folders(d):
    path = join(d, "folder")
    before = os.stat(d).st_nlink
    os.mkdir(path, 0o711)
    s = os.stat(path)
    check(stat.S_ISDIR(s.st_mode), "not a folder")
    equal((stat.S_IMODE(s.st_mode), s.st_nlink, os.stat(d).st_nlink), (0o711, 2, before + 1))
    refused(errno.EEXIST, os.mkdir, path)
    write(join(path, "file"))
    refused(errno.ENOTEMPTY, os.rmdir, path)
    os.unlink(join(path, "file"))
    os.rmdir(path)
    refused(errno.ENOENT, os.stat, path)
    equal(os.stat(d).st_nlink, before, "links of the parent")


@case
def folders_and_files_are_not_mistaken(d):
    path = write(join(d, "file"))
    below = folder(join(d, "folder"))
    refused(errno.EISDIR, os.unlink, below)
    refused(errno.ENOTDIR, os.rmdir, path)
    refused(errno.ENOTDIR, os.stat, join(path, "below"))
    refused(errno.ENOTDIR, os.listdir, path)
    refused(errno.EISDIR, os.open, below, os.O_WRONLY)
    refused(errno.EEXIST, os.mkdir, path)


@case
def a_listing_has_every_entry_once(d):
    names = ["file%d" % i for i in range(100)]
    for name in names:
        write(join(d, name))
    os.mkdir(join(d, "folder"))
    os.symlink("target", join(d, "link"))
    want = sorted(names + ["folder", "link"])
    equal(sorted(os.listdir(d)), want)
    remount()
    equal(sorted(os.listdir(d)), want, "listing after a new mount")
    with os.scandir(d) as entries:
        kinds = {e.name: (e.is_dir(follow_symlinks=False), e.is_symlink(), e.inode()) for e in entries}
    equal(kinds["folder"], (True, False, os.stat(join(d, "folder")).st_ino))
    equal(kinds["link"], (False, True, os.lstat(join(d, "link")).st_ino))


@case
def an_empty_folder_lists_nothing(d):
    equal(os.listdir(d), [])
    equal(os.stat(join(d, "..")).st_ino, os.stat(os.path.dirname(d)).st_ino, "inode of ..")


@case
def unlink_removes_the_name(d):
    path = write(join(d, "file"), b"x")
    os.unlink(path)
    refused(errno.ENOENT, os.stat, path)
    equal(os.listdir(d), [])
    remount()
    equal(os.listdir(d), [])


@case
def a_name_can_be_used_again(d):
    path = join(d, "name")
    for _ in range(5):
        write(path, b"file")
        first = os.stat(path).st_ino
        os.unlink(path)
        os.mkdir(path)
        check(os.stat(path).st_ino != first, "the inode number of a removed file came back at once")
        os.rmdir(path)
    write(path, b"at last")
    equal(read(path), b"at last")


@case
def an_open_file_outlives_its_name(d):
    path = write(join(d, "file"), b"still here")
    with open(path, "r+b") as file:
        os.unlink(path)
        refused(errno.ENOENT, os.stat, path)
        equal(file.read(), b"still here")
        file.write(b" and writable")
        file.flush()
        file.seek(0)
        equal(file.read(), b"still here and writable")
    # The client keeps such a file as .nfsXXXX and removes it after the last close.
    wait_for(lambda: os.listdir(d) == [], 60, "the removal of the silly-renamed file")


@case
def chmod_changes_every_bit(d):
    path = write(join(d, "file"))
    for mode in (0o000, 0o7777, 0o4755, 0o2755, 0o1644, 0o640):
        os.chmod(path, mode)
        equal(mode_of(path), mode, "mode")
    remount()
    equal(mode_of(path), 0o640, "mode after a new mount")


@case
def chown_takes_ids_of_32_bits(d):
    path = write(join(d, "file"))
    for uid, gid in ((1, 2), (65534, 65535), (70000, 80000), (4294967294, 4294967293)):
        os.chown(path, uid, gid)
        s = os.stat(path)
        equal((s.st_uid, s.st_gid), (uid, gid), "owner")
    os.chown(path, 5, -1)
    remount()
    s = os.stat(path)
    equal((s.st_uid, s.st_gid), (5, 4294967293), "owner after a new mount")


@case
def times_are_kept_to_the_nanosecond(d):
    # The client itself cuts the fraction off in the first and the last second that NFSv3 can express.
    path = write(join(d, "file"))
    for atime, mtime in ((1_000_000_001, 2_000_000_002), (1_000_000_000_123_456_789, 1_700_000_000_987_654_321),
                         (4_294_967_294_999_999_999, 0)):
        os.utime(path, ns=(atime, mtime))
        remount()
        s = os.stat(path)
        equal((s.st_atime_ns, s.st_mtime_ns), (atime, mtime), "times")


@case
def changes_move_the_times_they_should(d):
    path = write(join(d, "file"), b"x")
    old = 1_000_000_000_000_000_000

    def times(of):
        s = os.stat(of)
        return s.st_mtime_ns, s.st_ctime_ns

    os.utime(path, ns=(old, old))
    before = times(path)
    time.sleep(TICK)
    os.chmod(path, 0o600)
    after = times(path)
    equal(after[0], old, "mtime after chmod")
    check(after[1] > before[1], "chmod left ctime as it was")
    before = after
    time.sleep(TICK)
    write(path, b"y", 0o600)
    after = times(path)
    check(after[0] > old and after[1] > before[1], "a write left mtime or ctime as it was")
    os.utime(d, ns=(old, old))
    write(join(d, "new"))
    check(times(d)[0] > old, "a new entry left the folder's mtime as it was")
    os.utime(d, ns=(old, old))
    os.unlink(join(d, "new"))
    check(times(d)[0] > old, "a removed entry left the folder's mtime as it was")


@case
def names_up_to_255_bytes(d):
    for name in ("n" * 255, "ü" * 127 + "x"):
        path = join(d, name)
        write(path, b"long")
        equal(read(path), b"long")
    refused(errno.ENAMETOOLONG, os.open, join(d, "n" * 256), os.O_CREAT | os.O_WRONLY)
    refused(errno.ENAMETOOLONG, os.mkdir, join(d, "n" * 256))
    refused(errno.ENAMETOOLONG, os.stat, join(d, "n" * 256))


@case
def names_are_bytes(d):
    # Anything but a slash and NUL: no encoding, no normal form, no case folding.
    names = [b"with space", b"new\nline", b"\xff\xfe\x80", b"*?[]", b"-rf", b"caf\xc3\xa9", b"cafe\xcc\x81", b"A", b"a", b"...",
             b"\\", b"'", b'"', b"\x01\x7f", b"%s", b".hidden"]
    base = os.fsencode(d)
    for i, name in enumerate(names):
        write(os.path.join(base, name), b"%d" % i)
    remount()
    equal(sorted(os.listdir(base)), sorted(names))
    for i, name in enumerate(names):
        equal(read(os.path.join(base, name)), b"%d" % i, repr(name))


@case
def deep_paths(d):
    os.chdir(d)
    for _ in range(60):
        os.mkdir("level" * 10)
        os.chdir("level" * 10)
    write("bottom", b"deep")
    equal(read("bottom"), b"deep")
    os.chdir("/")
    path = join(d, *["level" * 10] * 60)
    remount()
    equal(read(join(path, "bottom")), b"deep")
    os.unlink(join(path, "bottom"))
    for _ in range(60):
        os.rmdir(path)
        path = os.path.dirname(path)


@case
def a_tree_survives_a_new_mount(d):
    want = {}
    for i in range(5):
        os.makedirs(join(d, "a%d" % i, "b", "c"))
        for j in range(4):
            path = join(d, "a%d" % i, "b", "file%d" % j)
            write(path, os.urandom(1 + 5000 * j), 0o600 + j)
            want[path] = (digest(path), os.stat(path).st_ino, os.stat(path).st_mtime_ns, mode_of(path))
    remount()
    for path, known in want.items():
        equal((digest(path), os.stat(path).st_ino, os.stat(path).st_mtime_ns, mode_of(path)), known, path)


@case
def statfs_gives_sizes(d):
    s = os.statvfs(d)
    check(s.f_blocks > 0 and s.f_bsize > 0, "no size")
    check(0 <= s.f_bavail <= s.f_bfree <= s.f_blocks, "free blocks: %r" % (s,))
    check(s.f_files > 0, "no inodes")
    equal(s.f_namemax, 255, "longest name")
    equal(os.pathconf(d, "PC_NAME_MAX"), 255, "pathconf's longest name")


@case
def a_removed_working_folder_is_stale_not_fatal(d):
    path = folder(join(d, "gone"))
    descriptor = os.open(path, os.O_RDONLY)
    os.rmdir(path)
    try:
        os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor)
        check(False, "a file was made in a removed folder")
    except OSError as error:
        check(error.errno in (errno.ENOENT, errno.ESTALE), str(error))
    finally:
        os.close(descriptor)


main()
