#!/usr/bin/env python3
"""Every form of rename."""

import errno
import os
import stat

from cases import Failed, case, check, equal, folder, join, main, parallel, read, refused, remount, remove_tree, wait_for, write


@case
def a_file_gets_a_new_name(d):
    one = write(join(d, "one"), b"x", 0o604)
    before = os.stat(one)
    os.rename(one, join(d, "two"))
    after = os.stat(join(d, "two"))
    equal((after.st_ino, after.st_mode, after.st_mtime_ns), (before.st_ino, before.st_mode, before.st_mtime_ns))
    equal(os.listdir(d), ["two"])
    refused(errno.ENOENT, os.stat, one)
    remount()
    equal((os.listdir(d), read(join(d, "two"))), (["two"], b"x"))


@case
def a_file_replaces_a_file(d):
    one, two = write(join(d, "one"), b"new"), write(join(d, "two"), b"old")
    inode = os.stat(one).st_ino
    os.rename(one, two)
    equal((read(two), os.stat(two).st_ino, os.listdir(d)), (b"new", inode, ["two"]))
    remount()
    equal((read(two), os.stat(two).st_nlink), (b"new", 1))


@case
def a_replaced_file_that_is_open_stays_readable(d):
    one, two = write(join(d, "one"), b"new"), write(join(d, "two"), b"old")
    with open(two, "rb") as file:
        os.rename(one, two)
        equal(file.read(), b"old")
        equal(read(two), b"new")
    wait_for(lambda: os.listdir(d) == ["two"], 60, "the removal of the silly-renamed file")


@case
def an_open_file_follows_its_new_name(d):
    one = write(join(d, "one"), b"before")
    with open(one, "r+b", buffering=0) as file:
        os.rename(one, join(d, "two"))
        file.write(b"after!")
        file.seek(0)
        equal(file.read(), b"after!")
    equal(read(join(d, "two")), b"after!")


@case
def a_replaced_name_of_two_leaves_the_other(d):
    one, two = write(join(d, "one"), b"new"), write(join(d, "two"), b"old")
    os.link(two, join(d, "kept"))
    os.rename(one, two)
    equal((read(join(d, "kept")), os.stat(join(d, "kept")).st_nlink), (b"old", 1))


@case
def two_names_of_one_file_stay_two(d):
    # POSIX: where both name the same file, rename does nothing.
    one = write(join(d, "one"), b"x")
    two = join(d, "two")
    os.link(one, two)
    os.rename(one, two)
    equal(sorted(os.listdir(d)), ["one", "two"])
    equal(os.stat(one).st_nlink, 2, "links")
    remount()
    equal(sorted(os.listdir(d)), ["one", "two"])


@case
def a_name_to_itself_is_nothing(d):
    one = write(join(d, "one"), b"x")
    os.rename(one, one)
    equal(read(one), b"x")
    below = folder(join(d, "folder"))
    os.rename(below, below)
    check(os.path.isdir(below), "the folder is gone")


@case
def a_folder_gets_a_new_name_with_all_in_it(d):
    os.makedirs(join(d, "one", "a", "b"))
    write(join(d, "one", "a", "b", "file"), b"deep")
    os.rename(join(d, "one"), join(d, "two"))
    equal(read(join(d, "two", "a", "b", "file")), b"deep")
    refused(errno.ENOENT, os.stat, join(d, "one"))
    equal(os.listdir(d), ["two"])


@case
def a_folder_moves_and_its_parents_count_it(d):
    a, b = folder(join(d, "a")), folder(join(d, "b"))
    moved = folder(join(a, "moved"))
    write(join(moved, "file"), b"x")
    equal((os.stat(a).st_nlink, os.stat(b).st_nlink), (3, 2), "links before")
    os.rename(moved, join(b, "moved"))
    equal((os.stat(a).st_nlink, os.stat(b).st_nlink), (2, 3), "links after")
    remount()
    equal((os.stat(a).st_nlink, os.stat(b).st_nlink), (2, 3), "links after a new mount")
    equal(os.stat(join(b, "moved", "..")).st_ino, os.stat(b).st_ino, "inode of ..")
    equal(read(join(b, "moved", "file")), b"x")
    os.rmdir(a)


@case
def a_file_moves_between_folders(d):
    a, b = folder(join(d, "a")), folder(join(d, "b"))
    write(join(a, "file"), b"x")
    os.utime(a, ns=(1, 1_000_000_000))
    os.utime(b, ns=(1, 1_000_000_000))
    os.rename(join(a, "file"), join(b, "other"))
    equal((os.listdir(a), os.listdir(b), read(join(b, "other"))), ([], ["other"], b"x"))
    check(os.stat(a).st_mtime_ns > 1_000_000_000, "the old folder's mtime stayed")
    check(os.stat(b).st_mtime_ns > 1_000_000_000, "the new folder's mtime stayed")


@case
def a_folder_replaces_an_empty_folder(d):
    one, two = folder(join(d, "one")), folder(join(d, "two"))
    write(join(one, "file"), b"x")
    links = os.stat(d).st_nlink
    os.rename(one, two)
    equal((os.listdir(d), read(join(two, "file"))), (["two"], b"x"))
    equal(os.stat(d).st_nlink, links - 1, "links of the parent")


@case
def a_folder_does_not_replace_a_full_one(d):
    one, two = folder(join(d, "one")), folder(join(d, "two"))
    write(join(two, "file"))
    for number in (errno.ENOTEMPTY, errno.EEXIST):
        try:
            refused(number, os.rename, one, two)
            break
        except Failed:
            if number == errno.EEXIST:
                raise
    equal(sorted(os.listdir(d)), ["one", "two"])


@case
def kinds_do_not_replace_each_other(d):
    file, below = write(join(d, "file")), folder(join(d, "folder"))
    refused(errno.EISDIR, os.rename, file, below)
    refused(errno.ENOTDIR, os.rename, below, file)
    os.symlink("folder", join(d, "link"))
    refused(errno.ENOTDIR, os.rename, below, join(d, "link"))
    os.rename(file, join(d, "link"))
    check(stat.S_ISREG(os.lstat(join(d, "link")).st_mode), "the symbolic link is still there")


@case
def a_folder_does_not_go_below_itself(d):
    os.makedirs(join(d, "one", "two", "three"))
    refused(errno.EINVAL, os.rename, join(d, "one"), join(d, "one", "two", "four"))
    refused(errno.EINVAL, os.rename, join(d, "one"), join(d, "one", "new"))
    # The other way round the target is an ancestor, and so not empty.
    refused(errno.ENOTEMPTY, os.rename, join(d, "one", "two", "three"), join(d, "one"))


@case
def what_is_not_there_is_not_renamed(d):
    one = write(join(d, "one"))
    refused(errno.ENOENT, os.rename, join(d, "none"), join(d, "two"))
    refused(errno.ENOENT, os.rename, one, join(d, "none", "two"))
    refused(errno.ENOTDIR, os.rename, one, join(one, "two"))
    refused(errno.ENAMETOOLONG, os.rename, one, join(d, "n" * 256))
    equal(os.listdir(d), ["one"])


@case
def links_and_special_files_are_renamed(d):
    os.symlink("target", join(d, "link"))
    os.mkfifo(join(d, "fifo"))
    os.rename(join(d, "link"), join(d, "link2"))
    os.rename(join(d, "fifo"), join(d, "fifo2"))
    equal(os.readlink(join(d, "link2")), "target")
    check(stat.S_ISFIFO(os.lstat(join(d, "fifo2")).st_mode), "not a FIFO")
    write(join(d, "file"), b"x")
    os.rename(join(d, "file"), join(d, "fifo2"))
    equal(read(join(d, "fifo2")), b"x")


@case
def a_working_folder_is_renamed_under_its_user(d):
    below = folder(join(d, "one"))
    os.chdir(below)
    os.rename(below, join(d, "two"))
    write("file", b"x")
    equal(read(join(d, "two", "file")), b"x")
    equal(os.stat("..").st_ino, os.stat(d).st_ino, "inode of ..")


@case
def a_chain_of_names(d):
    write(join(d, "name0"), b"x")
    for i in range(200):
        os.rename(join(d, "name%d" % i), join(d, "name%d" % (i + 1)))
    equal((os.listdir(d), read(join(d, "name200"))), (["name200"], b"x"))


@case
def many_at_once_to_one_name_leave_one(d):
    def mover(which):
        for i in range(40):
            path = join(d, "own%d" % which)
            write(path, b"%d" % which * 50)
            os.rename(path, join(d, "target"))
            data = read(join(d, "target"))
            check(len(data) == 50 and len(set(data)) == 1, "a mixture: %r" % data)

    parallel(*[lambda which=which: mover(which) for which in range(4)])
    remount()
    wait_for(lambda: os.listdir(d) == ["target"], 60, "the removal of all but the target")
    equal(os.stat(join(d, "target")).st_nlink, 1, "links")


@case
def folders_moved_into_each_other_make_no_loop(d):
    a, b = folder(join(d, "a")), folder(join(d, "b"))

    def mover(source, target):
        for _ in range(60):
            try:
                os.rename(source, join(target, "moved"))
                os.rename(join(target, "moved"), source)
            except OSError as error:
                expected = (errno.ENOENT, errno.EINVAL, errno.ENOTEMPTY, errno.EEXIST)
                check(error.errno in expected, str(error))

    parallel(lambda: mover(a, b), lambda: mover(b, a))
    remount()
    found = []
    for path, below, _ in os.walk(d):
        found += below
        check(len(found) < 10, "more folders than there are: a loop")
    equal(len(found), 2, "folders below %s: %r; their number" % (d, found))
    remove_tree(join(d, "a") if os.path.exists(join(d, "a")) else join(d, "b"))


main()
