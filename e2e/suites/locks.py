#!/usr/bin/env python3
"""Locks through the server's lock manager.

The share is mounted by two addresses of the server. To the kernel these are two servers: it knows of no lock of
the other mount, so that each conflict, and each wait, is the server's.
"""

import errno
import fcntl
import os
import signal
import struct
import subprocess
import time

from cases import MOUNT, Failed, case, check, equal, join, main, read, refused, write

SECOND = "/mnt/second"
# A client asks again by itself after 30 s: who waits less was called by the server.
CALLED = 15.0
FLOCK = "hhlli"


def beside(path):
    """The same path on the other mount."""
    return path.replace(MOUNT, SECOND, 1)


def opened(path, flags=os.O_RDWR):
    return os.open(path, flags)


def lock(descriptor, kind, start=0, length=0, wait=False):
    command = fcntl.F_SETLKW if wait else fcntl.F_SETLK
    fcntl.fcntl(descriptor, command, struct.pack(FLOCK, kind, os.SEEK_SET, start, length, 0))


def tested(descriptor, kind, start=0, length=0):
    """F_GETLK: kind, start and length of what is in the way; F_UNLCK where nothing is."""
    asked = struct.pack(FLOCK, kind, os.SEEK_SET, start, length, 0)
    kind, _, start, length, _ = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return kind, start, length


class Child:
    """A process that does something and exits with 0 if it was right."""

    def __init__(self, work):
        self.begun = time.monotonic()
        self.id = os.fork()
        if self.id == 0:
            try:
                work()
                os._exit(0)
            except BaseException as error:
                print("note child: %s: %s" % (type(error).__name__, error), flush=True)
            os._exit(1)

    def ended(self, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(self.id, os.WNOHANG)
            if done:
                equal(status, 0, "the status of a child")
                return
            time.sleep(0.01)
        os.kill(self.id, signal.SIGKILL)
        os.waitpid(self.id, 0)
        raise Failed("a child did not end within %d s" % seconds)


@case
def locks_go_to_the_server(folder):
    for line in read("/proc/mounts").decode().splitlines():
        if line.split()[1] in (MOUNT, SECOND):
            check("local_lock=none" in line and "nolock" not in line.replace("local_lock", ""), line)
    check(os.path.isdir(beside(folder)), "the second mount has the folder")


@case
def ranges_exclude_each_other(folder):
    path = write(join(folder, "f"), b"0123456789")
    one, two = opened(path), opened(beside(path))
    lock(one, fcntl.F_WRLCK, 2, 4)
    refused(errno.EAGAIN, lock, two, fcntl.F_RDLCK, 5, 1)
    refused(errno.EAGAIN, lock, two, fcntl.F_WRLCK)
    lock(two, fcntl.F_WRLCK, 6, 0)
    equal(tested(two, fcntl.F_WRLCK), (fcntl.F_WRLCK, 2, 4), "what is in the way")
    equal(tested(one, fcntl.F_RDLCK, 100, 1)[:2], (fcntl.F_WRLCK, 6), "what is in the way")
    # A part is given back.
    lock(one, fcntl.F_UNLCK, 3, 1)
    lock(two, fcntl.F_RDLCK, 3, 1)
    refused(errno.EAGAIN, lock, two, fcntl.F_RDLCK, 2, 1)
    os.close(one)
    lock(two, fcntl.F_WRLCK, 0, 0)
    os.close(two)


@case
def shared_locks_are_shared(folder):
    path = write(join(folder, "f"), b"x")
    one, two = opened(path), opened(beside(path))
    lock(one, fcntl.F_RDLCK)
    lock(two, fcntl.F_RDLCK)
    refused(errno.EAGAIN, lock, one, fcntl.F_WRLCK)
    lock(two, fcntl.F_UNLCK)
    lock(one, fcntl.F_WRLCK)
    lock(one, fcntl.F_RDLCK)
    lock(two, fcntl.F_RDLCK)
    os.close(one)
    os.close(two)


@case
def flock_is_a_lock_on_the_whole_file(folder):
    path = write(join(folder, "f"), b"x")
    # Exclusive on a descriptor that reads.
    one, two = opened(path, os.O_RDONLY), opened(beside(path), os.O_RDONLY)
    fcntl.flock(one, fcntl.LOCK_EX)
    refused(errno.EAGAIN, fcntl.flock, two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(one, fcntl.LOCK_UN)
    fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(one, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(one)
    os.close(two)


@case
def who_waits_is_called(folder):
    path = write(join(folder, "f"), b"x")
    for _ in range(5):
        holder = opened(path)
        lock(holder, fcntl.F_WRLCK)

        def wait():
            waiter = opened(beside(path))
            lock(waiter, fcntl.F_WRLCK, wait=True)
            os.close(waiter)

        child = Child(wait)
        time.sleep(0.5)
        check(os.waitpid(child.id, os.WNOHANG) == (0, 0), "it waits")
        os.close(holder)
        given = time.monotonic()
        child.ended()
        check(time.monotonic() - given < CALLED, "it took %.1f s" % (time.monotonic() - given))


@case
def a_program_that_dies_gives_back(folder):
    path = write(join(folder, "f"), b"x")

    def hold():
        descriptor = opened(path)
        lock(descriptor, fcntl.F_WRLCK)
        write(join(folder, "held"))
        signal.pause()

    child = Child(hold)
    while not os.path.exists(join(folder, "held")):
        time.sleep(0.01)
    two = opened(beside(path))
    refused(errno.EAGAIN, lock, two, fcntl.F_WRLCK)
    os.kill(child.id, signal.SIGKILL)
    os.waitpid(child.id, 0)
    lock(two, fcntl.F_WRLCK, wait=True)
    os.close(two)


@case
def a_wait_that_is_interrupted_takes_nothing(folder):
    path = write(join(folder, "f"), b"x")
    holder = opened(path)
    lock(holder, fcntl.F_WRLCK)

    def interrupted():
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
        signal.setitimer(signal.ITIMER_REAL, 1)
        descriptor = opened(beside(path))
        try:
            lock(descriptor, fcntl.F_WRLCK, wait=True)
        except TimeoutError:
            os.close(descriptor)
            return
        raise Failed("it was not interrupted")

    Child(interrupted).ended()
    os.close(holder)
    again = opened(path)
    lock(again, fcntl.F_WRLCK)
    os.close(again)


@case
def what_is_written_under_a_lock_is_seen_under_the_next(folder):
    path = write(join(folder, "f"), struct.pack("<Q", 0) * 2)
    rounds, processes = 25, 8

    def count(number):
        descriptor = opened(path if number % 2 else beside(path))
        for each in range(rounds):
            at = 8 * ((number + each) % 2)
            lock(descriptor, fcntl.F_WRLCK, at, 8, wait=True)
            (value,) = struct.unpack("<Q", os.pread(descriptor, 8, at))
            os.pwrite(descriptor, struct.pack("<Q", value + 1), at)
            lock(descriptor, fcntl.F_UNLCK, at, 8)
        os.close(descriptor)

    children = [Child(lambda number=number: count(number)) for number in range(processes)]
    for child in children:
        child.ended(240)
    descriptor = opened(path)
    lock(descriptor, fcntl.F_RDLCK, wait=True)
    equal(sum(struct.unpack("<QQ", os.pread(descriptor, 16, 0))), rounds * processes, "the sum")
    os.close(descriptor)


os.makedirs(SECOND, exist_ok=True)
subprocess.run(["mount", "-t", "nfs", os.environ["E2E_SECOND"], SECOND], check=True)
try:
    main()
finally:
    subprocess.run(["umount", SECOND], check=True)
