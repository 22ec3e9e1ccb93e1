#!/usr/bin/env python3
"""Two servers on one database under a hard mount of an address that moves between them. Servers are killed (SIGKILL)
at random, and the database's primary is replaced by its standby. No program sees an error, nothing that was
acknowledged is lost, and no answer contradicts an earlier one. At last the calls of one client go to both servers."""

import mmap
import os
import random
import subprocess
import time

from cases import MOUNT, case, check, equal, join, main, note, read, remount, server
from kill_writers import Changer, Copier, Logger, Namer, Saver, Work, Writer, pattern, writers

KILLS = int(os.environ["E2E_KILLS"])
SECOND = "/mnt/second"


class Watcher(Writer):
    """One file and its folder: what they show goes on, and is what was acknowledged."""

    def __init__(self, path, seed):
        self.path, self.random, self.size, self.last = path, random.Random(seed), 0, (0, 0)
        os.mkdir(path)
        self.file = join(path, "file")
        os.close(os.open(self.file, os.O_CREAT | os.O_EXCL, 0o600))
        self.number = os.stat(self.file).st_ino

    def step(self, number):
        mode = 0o600 + number % 0o100
        if self.random.random() < 0.5:
            os.truncate(self.file, self.random.randrange(10_000))
        os.chmod(self.file, mode)
        name = join(self.path, "name%d" % number)
        os.link(self.file, name)
        # Opening asks the server.
        with open(self.file, "rb") as file:
            seen = os.fstat(file.fileno())
        folder = os.stat(self.path)
        equal((seen.st_ino, seen.st_mode & 0o7777, seen.st_nlink), (self.number, mode, 2), "the file")
        now = (seen.st_ctime_ns, folder.st_mtime_ns)
        check(now[0] > self.last[0] and now[1] >= self.last[1], "times go back: %s after %s" % (now, self.last))
        self.last = now
        os.unlink(name)
        try:
            os.lstat(name)
        except FileNotFoundError:
            return
        check(False, "a removed name is there")

    def verify(self):
        equal(os.listdir(self.path), ["file"], "names")
        equal((os.stat(self.file).st_ino, os.stat(self.file).st_nlink), (self.number, 1), "the file")


def jobs_of(d, seed):
    return writers(d, seed) + [Watcher(join(d, "watched"), seed)]


def proved(workers, jobs):
    for worker in workers:
        worker.proceed(2, 120)
    for worker, job in zip(workers, jobs):
        worker.finish()
        job.close()
    remount()
    for job in jobs:
        job.verify()


@case
def servers_that_are_killed_are_not_noticed(d):
    seed = random.SystemRandom().randrange(1 << 20)
    print("# %d kills, seed %d" % (KILLS, seed), flush=True)
    moments = random.Random(seed)
    jobs = jobs_of(d, seed)
    workers = [Work(job.step) for job in jobs]
    for kill in range(KILLS):
        if moments.random() < 0.85:
            # Else before the client is back.
            moments.choice(workers).proceed(1, 120)
        time.sleep(moments.uniform(0, 0.7))
        chance = moments.random()
        if chance < 0.1:
            # Whoever takes over is the same one again.
            server("kill-active")
            time.sleep(moments.choice([0, moments.uniform(0, 1)]))
        elif chance < 0.2:
            server("kill-passive")
        elif chance < 0.3:
            server("stop-active")
            server("move-address")
        elif chance < 0.4:
            # Both, and the address moves to one that begins.
            server("kill-active")
            server("kill-passive")
            server("move-address")
        else:
            server("kill-active")
            time.sleep(moments.choice([0, 0, moments.uniform(0, 1)]))
            server("move-address")
            time.sleep(moments.choice([0, moments.uniform(0, 0.5)]))
        server("start-dead", 120)
        if kill % 10 == 9:
            print("# %d kills, %s steps" % (kill + 1, [worker.acknowledged for worker in workers]), flush=True)
    proved(workers, jobs)


@case
def a_database_that_fails_over_is_not_noticed(d):
    seed = random.SystemRandom().randrange(1 << 20)
    print("# seed %d" % seed, flush=True)
    moments = random.Random(seed)
    jobs = jobs_of(d, seed)
    workers = [Work(job.step) for job in jobs]
    for turn in range(3):
        for worker in workers:
            worker.proceed(2, 120)
        time.sleep(moments.uniform(0, 1))
        if turn == 2:
            # A server and the database at once.
            server("kill-active")
            server("promote-database", 120)
            server("move-address")
            server("start-dead", 120)
        else:
            server("promote-database", 120)
        for worker in workers:
            worker.proceed(2, 120)
        server("make-standby", 120)
    proved(workers, jobs)


class Compared(Changer):
    """What was synced is what the servers have, whichever is asked: past the client's cache."""

    def __init__(self, path, seed):
        super().__init__(path, seed)
        self.direct = os.open(path, os.O_RDONLY | os.O_DIRECT)

    def step(self, number):
        super().step(number)
        for _ in range(3):
            length = 4096 * self.random.randrange(1, 64)
            start = 4096 * self.random.randrange(len(self.data) // 4096 + 1)
            with mmap.mmap(-1, length) as room:
                count = os.preadv(self.direct, [room], start)
                want = bytes(self.data[start : start + length])
                equal(room[:count] == want, True, "step %d: %d bytes of %d at %d" % (number, count, len(want), start))

    def close(self):
        os.close(self.direct)
        super().close()


@case
def one_client_may_call_both_servers(d):
    balanced = os.environ["E2E_BALANCED"].split()
    os.makedirs(SECOND, exist_ok=True)
    subprocess.run(["mount", "-t", "nfs", "-o", balanced[0], balanced[1], SECOND], check=True, stdin=subprocess.DEVNULL)
    try:
        beside = d.replace(MOUNT, SECOND, 1)
        connections = 0
        with open("/proc/self/mountstats") as stats:
            for line in stats:
                if line.startswith("device "):
                    here = " on %s " % SECOND in line
                elif here and line.lstrip().startswith("xprt:"):
                    connections += 1
        equal(connections, 4, "connections of the mount")
        seed = random.SystemRandom().randrange(1 << 20)
        print("# seed %d" % seed, flush=True)
        jobs = [Compared(join(beside, "compared%d" % i), seed + i) for i in range(3)]
        # Several WRITEs of a new file are under way at once, before anyone knows that they come to both.
        jobs += [Copier(join(beside, "copied%d" % i), seed + i) for i in range(3)]
        jobs += [Saver(join(beside, "saved"), seed), Namer(join(beside, "named"), seed)]
        jobs += [Logger(join(beside, "log"), seed), Watcher(join(beside, "watched"), seed)]
        workers = [Work(job.step) for job in jobs]
        for worker in workers:
            worker.proceed(25, 300)
        for worker, job in zip(workers, jobs):
            worker.finish()
            job.close()
    finally:
        # What a COMMIT wants to have again Linux sends within a minute: fsync and sync wait for that, close and umount do not.
        os.sync()
        subprocess.run(["umount", SECOND], check=True, stdin=subprocess.DEVNULL)
    # Through one server alone, by the other mount.
    for job in jobs:
        for name, value in vars(job).items():
            if isinstance(value, str):
                setattr(job, name, value.replace(SECOND, MOUNT, 1))
    remount()
    for job in jobs:
        job.verify()


note("%d kills" % KILLS)
main()
