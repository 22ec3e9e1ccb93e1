#!/usr/bin/env python3
"""The server is killed (SIGKILL) and started again under a hard mount. Whatever was acknowledged before (fsync or
close returned, or a rename, link or removal did) is there afterwards, read anew; and no file is ever zeros where its
data should be."""

import errno
import os
import random
import signal
import subprocess
import threading
import time

from cases import EMULATED, MOUNT, case, check, equal, folder, join, main, note, read, remount
from cases import server, wait_for, write
from kill_writers import Work, pattern, save, tolerant, writers

TIMES = 2 if EMULATED else 3
KILLS = int(os.environ["E2E_KILLS"])


def restart():
    server("kill")
    server("start")


def crash_under(*workers, times=TIMES):
    for _ in range(times):
        for worker in workers:
            worker.proceed(8)
        restart()
    for worker in workers:
        worker.proceed(8)
        worker.finish()
    remount()


@case
def files_saved_with_fsync_are_all_there(d):
    sizes = [1, 100, 4096, 50_000, 1_300_000]
    worker = Work(lambda i: save(join(d, "file%d" % i), pattern(i, sizes[i % 5])))
    crash_under(worker, times=TIMES + 1)
    count = worker.acknowledged
    check(count >= 8 * (TIMES + 2), "only %d files were written" % count)
    for i in range(count):
        equal(read(join(d, "file%d" % i)) == pattern(i, sizes[i % 5]), True, "the content of file %d" % i)
    equal(len(os.listdir(d)), count, "files")


@case
def a_file_replaced_again_and_again_is_always_whole(d):
    path = join(d, "file")
    worker = Work(lambda i: save(path, pattern(i, 20_000 + i)))
    crash_under(worker)
    equal(read(path) == pattern(worker.acknowledged - 1, 20_000 + worker.acknowledged - 1), True, "the last version")
    equal(os.listdir(d), ["file"])


@case
def a_synced_log_keeps_every_line(d):
    path = write(join(d, "log"))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)

    def step(i):
        os.write(descriptor, b"line %08d\n" % i)
        os.fsync(descriptor)

    worker = Work(step)
    for _ in range(TIMES):
        worker.proceed(15)
        restart()
    worker.proceed(15)
    worker.finish()
    os.close(descriptor)
    remount()
    equal(read(path) == b"".join(b"line %08d\n" % i for i in range(worker.acknowledged)), True, "every line once")


@case
def blocks_rewritten_in_place_are_the_last_acknowledged(d):
    block, blocks = 4096, 64
    path = write(join(d, "file"), pattern(0, block * blocks))
    descriptor = os.open(path, os.O_RDWR)
    last = {}

    def step(i):
        which = i * 7 % blocks
        os.pwrite(descriptor, pattern(i, block), which * block)
        os.fdatasync(descriptor)
        last[which] = i

    worker = Work(step)
    for _ in range(TIMES):
        worker.proceed(30)
        restart()
    worker.proceed(30)
    worker.finish()
    os.close(descriptor)
    remount()
    data = read(path)
    equal(len(data), block * blocks, "size")
    for which, i in last.items():
        equal(data[which * block : (which + 1) * block] == pattern(i, block), True, "block %d" % which)


@case
def data_that_was_not_yet_committed_is_sent_again(d):
    # The client holds what COMMIT has not covered; a new write verifier tells it to send all of it again.
    data = pattern(1, 24 << 20)
    path = join(d, "file")
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    half = len(data) // 2
    os.pwrite(descriptor, data[:half], 0)
    syncer = threading.Thread(target=os.fsync, args=(descriptor,), daemon=True)
    syncer.start()
    server("kill")
    os.pwrite(descriptor, data[half:], half)
    server("start")
    syncer.join(120)
    check(not syncer.is_alive(), "fsync hangs")
    os.fsync(descriptor)
    os.close(descriptor)
    remount()
    equal(os.stat(path).st_size, len(data), "size")
    equal(read(path) == data, True, "the content")


@case
def names_made_and_removed_stay_so(d):
    a, b = folder(join(d, "a")), folder(join(d, "b"))

    def step(i):
        tolerant(errno.EEXIST, os.mkdir, join(a, "folder%d" % i))
        tolerant(errno.EEXIST, os.symlink, "target%d" % i, join(a, "link%d" % i))
        write(join(a, "file%d" % i), b"%d" % i)
        tolerant(errno.EEXIST, os.link, join(a, "file%d" % i), join(b, "hard%d" % i))
        tolerant(errno.ENOENT, os.rename, join(a, "folder%d" % i), join(b, "folder%d" % i))
        if i % 2:
            tolerant(errno.ENOENT, os.unlink, join(a, "file%d" % i))
            tolerant(errno.ENOENT, os.rmdir, join(b, "folder%d" % i))

    worker = Work(step)
    crash_under(worker)
    n = worker.acknowledged
    want_a = ["link%d" % i for i in range(n)] + ["file%d" % i for i in range(0, n, 2)]
    want_b = ["hard%d" % i for i in range(n)] + ["folder%d" % i for i in range(0, n, 2)]
    equal(sorted(os.listdir(a)), sorted(want_a), "names in a")
    equal(sorted(os.listdir(b)), sorted(want_b), "names in b")
    equal(os.stat(b).st_nlink, 2 + len(range(0, n, 2)), "links of b")
    for i in range(n):
        equal((read(join(b, "hard%d" % i)), os.stat(join(b, "hard%d" % i)).st_nlink), (b"%d" % i, 1 + (i + 1) % 2))


@case
def attributes_that_were_set_stay_set(d):
    path = write(join(d, "file"), b"x" * 9000)

    def step(i):
        os.chmod(path, 0o400 + i % 0o377)
        os.truncate(path, 5000 + i)
        os.utime(path, ns=(1_000_000_000 + i, 2_000_000_000 + i))

    worker = Work(step)
    crash_under(worker)
    i = worker.acknowledged - 1
    s = os.stat(path)
    equal((s.st_mode & 0o7777, s.st_size, s.st_mtime_ns), (0o400 + i % 0o377, 5000 + i, 2_000_000_000 + i))


if os.environ["E2E_CONFIG"].startswith("postgres-"):

    @case
    def the_database_loses_nothing_that_was_acknowledged(d):
        # Its processes are killed, and with them all that they had not given to the operating system. The server stays
        # and finds its way back by itself.
        def step(i, w):
            path = join(d, "%d-%d" % (w, i))
            tolerant(errno.EEXIST, os.mkdir, path)
            tolerant(errno.ENOENT, os.rename, path, path + ".done")

        workers = [Work(lambda i, w=w: step(i, w)) for w in range(4)]
        for _ in range(TIMES + 1):
            for worker in workers:
                worker.proceed(20)
            server("kill-database")
            server("start-database")
        for worker in workers:
            worker.proceed(1)
            worker.finish()
        remount()
        names = set(os.listdir(d))
        for w, worker in enumerate(workers):
            want = {"%d-%d.done" % (w, i) for i in range(worker.acknowledged)}
            equal(sorted(want - names), [], "what is missing of writer %d" % w)


@case
def several_writers_at_once(d):
    workers = [
        Work(lambda i, w=w: save(join(d, "writer%d-%d" % (w, i)), pattern(w * 100_000 + i, 30_000))) for w in range(4)
    ]
    crash_under(*workers)
    for w, worker in enumerate(workers):
        for i in range(worker.acknowledged):
            data = read(join(d, "writer%d-%d" % (w, i)))
            equal(data == pattern(w * 100_000 + i, 30_000), True, "file %d of writer %d" % (i, w))


@case
def kills_at_random_lose_nothing(d):
    # At any moment of writes, and of starts.
    seed = random.SystemRandom().randrange(1 << 20)
    print("# %d kills, seed %d" % (KILLS, seed), flush=True)
    moments = random.Random(seed)
    jobs = writers(d, seed)
    workers = [Work(job.step) for job in jobs]
    for kill in range(KILLS):
        if moments.random() < 0.85:
            # Else the server is killed while it starts, or before anybody is back.
            moments.choice(workers).proceed(1, 120)
        time.sleep(moments.uniform(0, 0.7))
        server("kill")
        time.sleep(moments.choice([0, 0, moments.uniform(0, 1)]))
        server("start")
        if kill % 10 == 9:
            print("# %d kills, %s steps" % (kill + 1, [worker.acknowledged for worker in workers]), flush=True)
    for worker in workers:
        worker.proceed(2, 120)
    for worker, job in zip(workers, jobs):
        worker.finish()
        job.close()
    remount()
    for job in jobs:
        job.verify()


@case
def what_a_dead_client_left_is_no_zeros(d):
    # A program writes without any fsync; the server is killed, then the program, and the mount is given up. A file
    # may be missing or short. What it has is its data.
    size = 200_000
    child = os.fork()
    if child == 0:
        i = 0
        while True:
            with open(join(d, "file%d" % i), "wb", buffering=0) as file:
                for start in range(0, size, 10_000):
                    file.write(pattern(i, size)[start : start + 10_000])
            i += 1
    wait_for(lambda: len(os.listdir(d)) >= 25, 60, "the writing of 25 files")
    server("kill")
    time.sleep(0.2)
    os.kill(child, signal.SIGKILL)
    subprocess.run(["umount", "-f", "-l", MOUNT], check=False, stdin=subprocess.DEVNULL)
    server("start")
    os.waitpid(child, 0)
    mount = ["mount", "-t", "nfs", "-o", os.environ["E2E_OPTIONS"], os.environ["E2E_SOURCE"], MOUNT]
    subprocess.run(mount, check=True, stdin=subprocess.DEVNULL, timeout=120)
    names = os.listdir(d)
    check(len(names) >= 25, "only %d files are there" % len(names))
    whole = 0
    for name in names:
        data = read(join(d, name))
        want = pattern(int(name[4:]), size)
        equal(data == want[: len(data)], True, "the first %d bytes of %s" % (len(data), name))
        whole += len(data) == size
    check(whole >= 20, "only %d files are whole, though each was closed before the next" % whole)


note("%d kills" % KILLS)
main()
