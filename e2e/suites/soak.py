#!/usr/bin/env python3
"""Rounds of mixed work for as long as E2E_SECONDS says: programs write, save, copy and name files, all of it is compared, a tree is
walked and removed. In the first half the server is killed at random moments; the second half is without kills, so that what one server
takes can be watched. Each round removes its files: the share holds no more at the end than at the beginning."""

import os
import random
import shutil
import time

from cases import MOUNT, case, check, equal, folder, join, main, note, remount, server
from kill_writers import Work, writers

SECONDS = int(os.environ["E2E_SECONDS"])
# How long the writers of a round work.
ROUND = min(60, SECONDS / 8)


def remove_tree(path):
    """A removal whose reply a kill took is done twice by the client: that error is no reason to stop."""
    shutil.rmtree(path, ignore_errors=True)
    if os.path.exists(path):
        shutil.rmtree(path)


def leftovers():
    """Directories of load generators that a kill ended: all but the newest, which is at work."""
    found = [join(MOUNT, name) for name in os.listdir(MOUNT) if name.startswith("bench-")]
    return sorted(found, key=lambda path: os.stat(path).st_mtime)[:-1]


@case
def work_goes_on_for_hours(d):
    begin, moments = time.monotonic(), random.Random(1)
    half, end = begin + SECONDS / 2, begin + SECONDS
    rounds = kills = 0
    while time.monotonic() < end:
        place = folder(join(d, "round%d" % rounds))
        jobs = writers(place, rounds)
        workers = [Work(job.step) for job in jobs]
        until = min(time.monotonic() + ROUND, end)
        while time.monotonic() < until:
            for worker in workers:
                worker.proceed(1, 120)
            if until < half:
                time.sleep(moments.uniform(0, 10))
                server("kill")
                time.sleep(moments.choice([0, 1]))
                server("start")
                kills += 1
        for worker, job in zip(workers, jobs):
            worker.finish()
            job.close()
        remount()
        for job in jobs:
            job.verify()
        files = sum(len(names) for _, _, names in os.walk(place))
        check(files > 0, "a round without files")
        remove_tree(place)
        for path in leftovers():
            shutil.rmtree(path, ignore_errors=True)
        rounds += 1
    equal(os.listdir(d), [], "what is left of the rounds")
    note("%d rounds" % rounds)
    note("%d kills" % kills)


main()
