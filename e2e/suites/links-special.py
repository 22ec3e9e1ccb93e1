#!/usr/bin/env python3
"""Hard links, symbolic links, and files that are neither data nor folders."""

import errno
import os
import socket
import stat

from cases import User, case, check, equal, folder, join, main, mode_of, parallel, read, refused, remount, wait_for, write


@case
def a_hard_link_is_the_same_file(d):
    one = write(join(d, "one"), b"shared")
    two = join(d, "two")
    os.link(one, two)
    equal(os.stat(one).st_ino, os.stat(two).st_ino, "inode number")
    equal((os.stat(one).st_nlink, os.stat(two).st_nlink), (2, 2), "links")
    with open(two, "ab") as file:
        file.write(b" by both")
    equal(read(one), b"shared by both")
    os.chmod(one, 0o604)
    equal(mode_of(two), 0o604, "mode")
    remount()
    equal((os.stat(one).st_ino, os.stat(one).st_nlink), (os.stat(two).st_ino, 2))


@case
def removing_one_name_leaves_the_other(d):
    one = write(join(d, "one"), b"shared")
    two = join(d, "two")
    os.link(one, two)
    os.unlink(one)
    equal(read(two), b"shared")
    equal(os.stat(two).st_nlink, 1, "links")
    os.unlink(two)
    refused(errno.ENOENT, os.stat, two)


@case
def links_across_folders(d):
    a, b = folder(join(d, "a")), folder(join(d, "b"))
    one = write(join(a, "file"), b"x")
    os.link(one, join(b, "file"))
    os.rename(join(b, "file"), join(b, "renamed"))
    equal(os.stat(join(b, "renamed")).st_ino, os.stat(one).st_ino, "inode number")
    os.unlink(one)
    os.rmdir(a)
    equal(read(join(b, "renamed")), b"x")


@case
def a_link_moves_ctime_and_the_folders_mtime(d):
    one = write(join(d, "one"))
    os.utime(one, ns=(1, 1_000_000_000))
    os.utime(d, ns=(1, 1_000_000_000))
    os.link(one, join(d, "two"))
    equal(os.stat(one).st_mtime_ns, 1_000_000_000, "the file's mtime")
    check(os.stat(d).st_mtime_ns > 1_000_000_000, "the folder's mtime stayed")


@case
def links_that_cannot_be(d):
    one = write(join(d, "one"))
    below = folder(join(d, "folder"))
    write(join(d, "two"))
    refused(errno.EEXIST, os.link, one, join(d, "two"))
    refused(errno.EEXIST, os.link, one, below)
    refused(errno.EPERM, os.link, below, join(d, "three"))
    refused(errno.ENOENT, os.link, join(d, "none"), join(d, "three"))
    refused(errno.ENAMETOOLONG, os.link, one, join(d, "n" * 256))
    equal(os.stat(one).st_nlink, 1, "links")


@case
def hundreds_of_links(d):
    one = write(join(d, "file"), b"x")
    for i in range(300):
        os.link(one, join(d, "link%d" % i))
    remount()
    equal(os.stat(one).st_nlink, 301, "links")
    for i in range(300):
        os.unlink(join(d, "link%d" % i))
    equal(os.stat(one).st_nlink, 1, "links at last")


@case
def a_symbolic_link_keeps_its_text(d):
    texts = [b"target", b"/absolute/path", b"../up", b"with space\n", b"\xff\xfe", b".", b"x" * 1000, b"y/" * 1900]
    for i, text in enumerate(texts):
        os.symlink(text, os.fsencode(join(d, "link%d" % i)))
    remount()
    for i, text in enumerate(texts):
        path = os.fsencode(join(d, "link%d" % i))
        equal(os.readlink(path), text, "target")
        s = os.lstat(path)
        check(stat.S_ISLNK(s.st_mode), "not a symbolic link")
        equal(s.st_size, len(text), "size")


@case
def symbolic_links_are_followed(d):
    write(join(d, "file"), b"there")
    folder(join(d, "folder"))
    os.symlink("file", join(d, "one"))
    os.symlink("one", join(d, "two"))
    os.symlink("folder", join(d, "three"))
    equal(read(join(d, "two")), b"there")
    write(join(d, "three", "inside"), b"in")
    equal(read(join(d, "folder", "inside")), b"in")
    os.symlink("none", join(d, "dangling"))
    refused(errno.ENOENT, os.stat, join(d, "dangling"))
    os.symlink("loop", join(d, "loop"))
    refused(errno.ELOOP, os.stat, join(d, "loop"))
    write(join(d, "dangling"), b"made through it")
    equal(read(join(d, "none")), b"made through it")


@case
def symbolic_links_that_cannot_be(d):
    write(join(d, "file"))
    refused(errno.EEXIST, os.symlink, "target", join(d, "file"))
    refused(errno.EINVAL, os.readlink, join(d, "file"))
    refused(errno.EINVAL, os.readlink, d)
    refused(errno.ENOENT, os.symlink, "", join(d, "empty"))


@case
def a_symbolic_link_has_attributes_of_its_own(d):
    target = write(join(d, "file"))
    link = join(d, "link")
    os.symlink("file", link)
    os.lchown(link, 12, 34)
    os.utime(link, ns=(5_000_000_000, 6_000_000_000), follow_symlinks=False)
    remount()
    s = os.lstat(link)
    equal((s.st_uid, s.st_gid, s.st_mtime_ns), (12, 34, 6_000_000_000))
    equal((os.stat(target).st_uid, os.stat(target).st_gid), (0, 0), "the target's owner")


@case
def a_hard_link_to_a_symbolic_link(d):
    os.symlink("target", join(d, "one"))
    os.link(join(d, "one"), join(d, "two"), follow_symlinks=False)
    equal(os.readlink(join(d, "two")), "target")
    equal(os.lstat(join(d, "one")).st_nlink, 2, "links")


@case
def removing_a_symbolic_link_leaves_its_target(d):
    write(join(d, "file"), b"x")
    os.symlink("file", join(d, "link"))
    os.unlink(join(d, "link"))
    equal(read(join(d, "file")), b"x")


@case
def device_numbers_are_kept(d):
    want = {}
    for i, (kind, major, minor) in enumerate(
        [(stat.S_IFCHR, 1, 3), (stat.S_IFBLK, 8, 1), (stat.S_IFCHR, 0, 0), (stat.S_IFCHR, 259, 65536), (stat.S_IFBLK, 4095, 1048575)]
    ):
        path = join(d, "node%d" % i)
        os.mknod(path, kind | 0o640, os.makedev(major, minor))
        want[path] = (kind, major, minor)
    remount()
    for path, (kind, major, minor) in want.items():
        s = os.lstat(path)
        equal((stat.S_IFMT(s.st_mode), os.major(s.st_rdev), os.minor(s.st_rdev)), (kind, major, minor), path)
        equal(mode_of(path), 0o640, "mode")


@case
def a_device_is_the_clients_own(d):
    null = join(d, "null")
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with open(null, "r+b", buffering=0) as device:
        equal(device.write(b"gone"), 4)
        equal(device.read(10), b"")
    zero = join(d, "zero")
    os.mknod(zero, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    with open(zero, "rb", buffering=0) as device:
        equal(device.read(10), b"\0" * 10)


@case
def a_fifo_carries_bytes_between_processes(d):
    path = join(d, "fifo")
    os.mkfifo(path, 0o600)
    check(stat.S_ISFIFO(os.stat(path).st_mode), "not a FIFO")

    def writer():
        with open(path, "wb") as pipe:
            pipe.write(b"through the pipe")

    def reader():
        with open(path, "rb") as pipe:
            equal(pipe.read(), b"through the pipe")

    parallel(writer, reader)
    remount()
    check(stat.S_ISFIFO(os.stat(path).st_mode), "not a FIFO any more")


@case
def a_socket_has_a_name(d):
    os.chdir(d)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("socket")
        check(stat.S_ISSOCK(os.stat("socket").st_mode), "not a socket")
        server.listen(1)
        client.connect("socket")
        client.sendall(b"hello")
        with server.accept()[0] as peer:
            equal(peer.recv(10), b"hello")
    os.unlink("socket")
    refused(errno.ENOENT, os.stat, "socket")


@case
def special_files_are_listed_renamed_and_linked(d):
    os.mkfifo(join(d, "fifo"))
    os.mknod(join(d, "node"), stat.S_IFCHR | 0o600, os.makedev(7, 7))
    os.link(join(d, "node"), join(d, "linked"))
    os.rename(join(d, "fifo"), join(d, "moved"))
    equal(sorted(os.listdir(d)), ["linked", "moved", "node"])
    equal(os.lstat(join(d, "linked")).st_rdev, os.makedev(7, 7), "device")
    equal(os.lstat(join(d, "node")).st_nlink, 2, "links")
    check(stat.S_ISFIFO(os.lstat(join(d, "moved")).st_mode), "not a FIFO")
    refused(errno.EEXIST, os.mkfifo, join(d, "node"))
    refused(errno.ENOTDIR, os.rmdir, join(d, "node"))


@case
def an_open_file_with_two_names_loses_one(d):
    one = write(join(d, "one"), b"x")
    os.link(one, join(d, "two"))
    with open(one, "rb") as file:
        os.unlink(one)
        equal(file.read(), b"x")
    wait_for(lambda: os.listdir(d) == ["two"], 60, "the removal of the first name")
    remount()
    equal(os.stat(join(d, "two")).st_nlink, 1, "links")


@case
def a_user_may_link_what_he_owns(d):
    alice = User(1000, 1000)
    shared = folder(join(d, "shared"), 0o777)
    alice.run(write, join(shared, "file"), b"x")
    alice.run(os.link, join(shared, "file"), join(shared, "two"))
    equal(os.stat(join(shared, "two")).st_nlink, 2, "links")


main()
