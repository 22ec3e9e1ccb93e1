#!/usr/bin/env python3
"""What a client of e2e/locks-two.sh does: orders come as files of the control folder, and are answered by files.
Each is carried out by a process of its own."""

import errno
import fcntl
import json
import os
import signal
import struct
import subprocess
import time

CONTROL = os.environ["E2E_CONTROL"]
FLOCK = "hhlli"


def say(number, answer):
    path = "%s/answers/%d" % (CONTROL, number)
    with open(path + ".new", "w") as file:
        json.dump(answer, file)
    os.rename(path + ".new", path)


def lock(descriptor, order):
    wait = order.get("wait", False)
    if order.get("how") == "flock":
        kind = fcntl.LOCK_SH if order.get("shared") else fcntl.LOCK_EX
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        return
    kind = fcntl.F_RDLCK if order.get("shared") else fcntl.F_WRLCK
    range_ = struct.pack(FLOCK, kind, os.SEEK_SET, order.get("start", 0), order.get("length", 0), 0)
    fcntl.fcntl(descriptor, fcntl.F_SETLKW if wait else fcntl.F_SETLK, range_)


class Interrupted(Exception):
    pass


def interrupt(*_):
    raise Interrupted()


def take(number, order):
    """Takes a lock and keeps it until SIGTERM."""
    signal.signal(signal.SIGALRM, interrupt)
    descriptor = os.open(order["path"], os.O_RDWR)
    if "alarm" in order:
        signal.setitimer(signal.ITIMER_REAL, order["alarm"])
    try:
        lock(descriptor, order)
    except OSError as error:
        say(number, {"errno": errno.errorcode[error.errno]})
        return
    except Interrupted:
        os.close(descriptor)
        say(number, {"errno": "EINTR"})
        return
    signal.setitimer(signal.ITIMER_REAL, 0)
    say(number, {"errno": None})
    while True:
        signal.pause()


def shell(number, order):
    done = subprocess.run(order["command"], shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    say(number, {"status": done.returncode, "output": done.stdout.decode(errors="replace")[-4000:]})


def child(work, number, order):
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work(number, order)
            status = 0
        except BaseException as error:  # the host waits for an answer
            say(number, {"errno": "%s: %s" % (type(error).__name__, error)})
        os._exit(status)
    return process


def main():
    takers = {}
    os.makedirs(CONTROL + "/answers", exist_ok=True)
    while True:
        for name in sorted(os.listdir(CONTROL + "/orders"), key=int):
            path = "%s/orders/%s" % (CONTROL, name)
            with open(path) as file:
                order = json.load(file)
            os.unlink(path)
            number = int(name)
            if order["op"] == "take":
                takers[number] = child(take, number, order)
            elif order["op"] == "release":
                os.kill(takers.pop(order["of"]), signal.SIGTERM)
                say(number, {})
            else:
                child(shell, number, order)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        time.sleep(0.02)


main()
