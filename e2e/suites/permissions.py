#!/usr/bin/env python3
"""Who may do what: several users, groups, set-id and sticky bits, changes of owner."""

import errno
import os
import shutil
import stat
import subprocess

from cases import User, case, check, equal, folder, join, main, mode_of, read, refused, remount, write

ALICE = User(1000, 1000)
BOB = User(1001, 1001)
CAROL = User(1002, 1002, [1000, 5000])  # of Alice's group


def owned(path, user, mode, data=b"data"):
    """A file of this user's."""
    write(path, data)
    os.chown(path, user.uid, user.gid)
    os.chmod(path, mode)
    return path


def open_for(path, flags):
    os.close(os.open(path, flags))


@case
def the_owner_bits_are_for_the_owner(d):
    path = owned(join(d, "file"), ALICE, 0o600)
    ALICE.run(open_for, path, os.O_RDWR)
    for other in (BOB, CAROL):
        other.refused(errno.EACCES, open_for, path, os.O_RDONLY)
        other.refused(errno.EACCES, open_for, path, os.O_WRONLY)


@case
def the_group_bits_are_for_every_group_of_a_user(d):
    path = owned(join(d, "file"), ALICE, 0o640)
    CAROL.run(open_for, path, os.O_RDONLY)
    CAROL.refused(errno.EACCES, open_for, path, os.O_WRONLY)
    BOB.refused(errno.EACCES, open_for, path, os.O_RDONLY)
    os.chown(path, ALICE.uid, 5000)
    CAROL.run(open_for, path, os.O_RDONLY)


@case
def the_first_class_that_matches_decides(d):
    path = owned(join(d, "file"), ALICE, 0o066)
    ALICE.refused(errno.EACCES, open_for, path, os.O_RDONLY)
    BOB.run(open_for, path, os.O_RDWR)
    os.chmod(path, 0o606)
    CAROL.refused(errno.EACCES, open_for, path, os.O_RDONLY)


@case
def root_may_do_all_of_it(d):
    path = owned(join(d, "file"), ALICE, 0o000)
    open_for(path, os.O_RDWR)
    closed = folder(join(d, "closed"), 0o000, ALICE.uid, ALICE.gid)
    write(join(closed, "file"), b"root's")
    equal(read(join(closed, "file")), b"root's")


@case
def a_folder_without_x_lets_nobody_through(d):
    closed = folder(join(d, "closed"), 0o644, ALICE.uid, ALICE.gid)
    owned(join(closed, "file"), ALICE, 0o666)
    for user in (ALICE, BOB, CAROL):
        user.refused(errno.EACCES, os.stat, join(closed, "file"))
        user.refused(errno.EACCES, open_for, join(closed, "file"), os.O_RDONLY)
    equal(ALICE.run(os.listdir, closed), "['file']")


@case
def a_folder_without_r_can_be_passed_not_listed(d):
    passage = folder(join(d, "passage"), 0o711)
    owned(join(passage, "file"), BOB, 0o644)
    BOB.run(open_for, join(passage, "file"), os.O_RDONLY)
    BOB.refused(errno.EACCES, os.listdir, passage)


@case
def only_w_on_the_folder_adds_and_removes(d):
    public = folder(join(d, "public"), 0o755, ALICE.uid, ALICE.gid)
    path = owned(join(public, "file"), BOB, 0o666)
    BOB.refused(errno.EACCES, write, join(public, "new"))
    BOB.refused(errno.EACCES, os.mkdir, join(public, "new"))
    BOB.refused(errno.EACCES, os.symlink, "target", join(public, "new"))
    BOB.refused(errno.EACCES, os.mkfifo, join(public, "new"))
    BOB.refused(errno.EACCES, os.link, path, join(public, "new"))
    BOB.refused(errno.EACCES, os.unlink, path)
    BOB.refused(errno.EACCES, os.rename, path, join(public, "new"))
    ALICE.run(os.unlink, path)
    ALICE.run(os.mkdir, join(public, "new"))
    BOB.refused(errno.EACCES, os.rmdir, join(public, "new"))


@case
def what_a_user_makes_is_that_users(d):
    shared = folder(join(d, "shared"), 0o777)
    ALICE.run(write, join(shared, "file"), b"x")
    ALICE.run(os.mkdir, join(shared, "folder"))
    ALICE.run(os.symlink, "target", join(shared, "link"))
    ALICE.run(os.mkfifo, join(shared, "fifo"))
    remount()
    for name in ("file", "folder", "link", "fifo"):
        s = os.lstat(join(shared, name))
        equal((s.st_uid, s.st_gid), (ALICE.uid, ALICE.gid), name)


@case
def sticky_folders_keep_others_files(d):
    sticky = folder(join(d, "sticky"), 0o1777)
    path = owned(join(sticky, "file"), ALICE, 0o666)
    mine = owned(join(sticky, "mine"), BOB, 0o666)
    BOB.refused(errno.EPERM, os.unlink, path)
    BOB.refused(errno.EPERM, os.rename, path, join(sticky, "new"))
    BOB.refused(errno.EPERM, os.rename, mine, path)
    folder(join(sticky, "folder"), 0o777, ALICE.uid, ALICE.gid)
    BOB.refused(errno.EPERM, os.rmdir, join(sticky, "folder"))
    ALICE.run(os.rename, path, join(sticky, "new"))
    ALICE.run(os.unlink, join(sticky, "new"))
    BOB.run(os.unlink, mine)


@case
def the_owner_of_a_sticky_folder_may_remove(d):
    sticky = folder(join(d, "sticky"), 0o1777, CAROL.uid, CAROL.gid)
    path = owned(join(sticky, "file"), ALICE, 0o644)
    CAROL.run(os.unlink, path)


@case
def only_the_owner_changes_the_mode(d):
    path = owned(join(d, "file"), ALICE, 0o666)
    BOB.refused(errno.EPERM, os.chmod, path, 0o600)
    CAROL.refused(errno.EPERM, os.chmod, path, 0o600)
    ALICE.run(os.chmod, path, 0o640)
    equal(mode_of(path), 0o640)


@case
def nobody_gives_files_away(d):
    path = owned(join(d, "file"), CAROL, 0o644)
    CAROL.refused(errno.EPERM, os.chown, path, ALICE.uid, -1)
    BOB.refused(errno.EPERM, os.chown, path, BOB.uid, -1)
    CAROL.run(os.chown, path, CAROL.uid, -1)


@case
def the_owner_may_give_a_file_to_a_group_of_his(d):
    path = owned(join(d, "file"), CAROL, 0o644)
    CAROL.run(os.chown, path, -1, 5000)
    equal(os.stat(path).st_gid, 5000, "group")
    CAROL.refused(errno.EPERM, os.chown, path, -1, 4999)
    ALICE.refused(errno.EPERM, os.chown, path, -1, ALICE.gid)


@case
def a_change_of_owner_clears_set_id(d):
    path = owned(join(d, "file"), CAROL, 0o6755)
    CAROL.run(os.chown, path, -1, 5000)
    equal(mode_of(path), 0o755, "mode after chown by the owner")
    os.chmod(path, 0o6755)
    os.chown(path, BOB.uid, BOB.gid)
    equal(mode_of(path), 0o755, "mode after chown by root")


@case
def set_group_id_without_group_execute_stays(d):
    # System V's mandatory locking bit, not a set-id bit.
    path = owned(join(d, "file"), CAROL, 0o2745)
    os.chown(path, BOB.uid, BOB.gid)
    equal(mode_of(path), 0o2745, "mode after chown by root")


@case
def a_write_by_another_clears_set_id(d):
    path = owned(join(d, "file"), ALICE, 0o6777)

    def append():
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, b"more")
        os.close(descriptor)

    BOB.run(append)
    remount()
    equal(mode_of(path), 0o777, "mode")


@case
def chmod_by_a_stranger_to_the_group_drops_set_group_id(d):
    path = owned(join(d, "file"), ALICE, 0o755)
    os.chown(path, ALICE.uid, 4999)
    ALICE.run(os.chmod, path, 0o2755)
    equal(mode_of(path), 0o755, "mode")
    os.chown(path, ALICE.uid, ALICE.gid)
    ALICE.run(os.chmod, path, 0o2755)
    equal(mode_of(path), 0o2755, "mode in a group of the owner's")


@case
def set_group_id_folders_hand_down_their_group(d):
    team = folder(join(d, "team"), 0o2777, 0, 5000)
    ALICE.run(write, join(team, "file"), b"x")
    ALICE.run(os.mkdir, join(team, "folder"), 0o755)
    ALICE.run(os.symlink, "target", join(team, "link"))
    equal((os.stat(join(team, "file")).st_gid, mode_of(join(team, "file")) & 0o7000), (5000, 0), "file")
    equal((os.stat(join(team, "folder")).st_gid, mode_of(join(team, "folder"))), (5000, 0o2755), "folder")
    equal(os.lstat(join(team, "link")).st_gid, 5000, "symbolic link")


@case
def times_to_now_need_write_permission(d):
    path = owned(join(d, "file"), ALICE, 0o606)
    BOB.run(os.utime, path)
    BOB.refused(errno.EPERM, os.utime, path, (1, 1))
    os.chmod(path, 0o604)
    BOB.refused(errno.EACCES, os.utime, path)
    os.chmod(path, 0o000)
    ALICE.run(os.utime, path, (1, 1))
    ALICE.run(os.utime, path)


@case
def truncate_needs_write_permission(d):
    path = owned(join(d, "file"), ALICE, 0o644)
    BOB.refused(errno.EACCES, os.truncate, path, 0)
    ALICE.run(os.truncate, path, 2)
    equal(os.stat(path).st_size, 2)


@case
def a_file_made_read_only_is_written_by_its_maker(d):
    shared = folder(join(d, "shared"), 0o777)
    path = join(shared, "file")

    def create(mode):
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode)
        os.write(descriptor, b"x" * 100000)
        os.fsync(descriptor)
        os.close(descriptor)

    ALICE.run(create, 0o444)
    equal((mode_of(path), os.stat(path).st_size), (0o444, 100000))
    ALICE.refused(errno.EACCES, open_for, path, os.O_WRONLY)
    os.unlink(path)
    ALICE.run(create, 0o000)
    equal((mode_of(path), os.stat(path).st_size), (0o000, 100000))


@case
def what_was_opened_stays_open_after_chmod(d):
    path = owned(join(d, "file"), ALICE, 0o600, b"before")

    def change():
        descriptor = os.open(path, os.O_RDWR)
        os.fchmod(descriptor, 0)
        os.pwrite(descriptor, b"after!", 0)
        os.fsync(descriptor)
        got = os.pread(descriptor, 100, 0)
        os.close(descriptor)
        return got

    equal(ALICE.run(change), repr(b"after!"))


@case
def a_program_needs_only_x_to_run(d):
    program = join(d, "program")
    shutil.copy("/bin/true", program)
    os.chmod(program, 0o711)

    def execute():
        return subprocess.run([program], check=False).returncode

    equal(BOB.run(execute), "0", "exit status")
    BOB.refused(errno.EACCES, open_for, program, os.O_RDONLY)
    os.chmod(program, 0o744)
    BOB.refused(errno.EACCES, execute)


@case
def access_tells_what_open_would(d):
    path = owned(join(d, "file"), ALICE, 0o640)

    def ask():
        return [os.access(path, what) for what in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)]

    equal(ALICE.run(ask), "[True, True, True, False]", "Alice")
    equal(CAROL.run(ask), "[True, True, False, False]", "Carol")
    equal(BOB.run(ask), "[True, False, False, False]", "Bob")
    equal(ask(), [True, True, True, False], "root")


@case
def moving_anothers_folder_needs_w_on_the_folder(d):
    # Its ".." changes, and that is an entry of the folder moved.
    a = folder(join(d, "a"), 0o777)
    b = folder(join(d, "b"), 0o777)
    folder(join(a, "folder"), 0o755, ALICE.uid, ALICE.gid)
    BOB.refused(errno.EACCES, os.rename, join(a, "folder"), join(b, "folder"))
    BOB.run(os.rename, join(a, "folder"), join(a, "other"))
    ALICE.run(os.rename, join(a, "other"), join(b, "folder"))


@case
def rename_needs_w_on_both_folders(d):
    a = folder(join(d, "a"), 0o777)
    b = folder(join(d, "b"), 0o755)
    owned(join(a, "file"), BOB, 0o644)
    owned(join(b, "file"), BOB, 0o644)
    BOB.refused(errno.EACCES, os.rename, join(a, "file"), join(b, "new"))
    BOB.refused(errno.EACCES, os.rename, join(b, "file"), join(a, "new"))


@case
def only_root_makes_devices(d):
    shared = folder(join(d, "shared"), 0o777)
    ALICE.refused(errno.EPERM, os.mknod, join(shared, "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    ALICE.refused(errno.EPERM, os.mknod, join(shared, "disk"), stat.S_IFBLK | 0o666, os.makedev(8, 0))
    ALICE.run(os.mkfifo, join(shared, "fifo"))


@case
def sixteen_groups_are_all_looked_at(d):
    # AUTH_SYS carries sixteen supplementary groups.
    many = User(2000, 2000, range(6000, 6016))
    for gid in (6000, 6007, 6015):
        path = owned(join(d, "file%d" % gid), ALICE, 0o040)
        os.chown(path, ALICE.uid, gid)
        many.run(open_for, path, os.O_RDONLY)
    check(read(join(d, "file6015")) == b"data", "root reads it too")
    path = owned(join(d, "other"), ALICE, 0o040)
    os.chown(path, ALICE.uid, 6016)
    many.refused(errno.EACCES, open_for, path, os.O_RDONLY)


@case
def the_umask_is_the_clients(d):
    shared = folder(join(d, "shared"), 0o777)

    def create():
        os.umask(0o027)
        os.close(os.open(join(shared, "file"), os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(join(shared, "folder"), 0o777)

    ALICE.run(create)
    equal((mode_of(join(shared, "file")), mode_of(join(shared, "folder"))), (0o640, 0o750))


@case
def a_stranger_cannot_list_or_enter_after_chmod(d):
    private = folder(join(d, "private"), 0o755, ALICE.uid, ALICE.gid)
    write(join(private, "file"), b"x")
    BOB.run(os.stat, join(private, "file"))
    os.chmod(private, 0o700)
    BOB.refused(errno.EACCES, os.stat, join(private, "file"))
    BOB.refused(errno.EACCES, os.listdir, private)
    refused(errno.ENOENT, os.stat, join(private, "none"))


main()
