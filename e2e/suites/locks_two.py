#!/usr/bin/env python3
"""Locks of two kernel clients at two servers: what e2e/locks-two.sh runs in namespaces of its own.

Servers: 10.77.0.1, which is its own port mapper, and 10.77.0.2, which is registered with the rpcbind of its machine,
where rpc.statd runs too. Clients: a, b, User Mode Linux guests that mount by both.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

RUN, BINARY, REPO = os.environ["E2E_RUN"], os.environ["E2E_BINARY"], os.environ["E2E_REPO"]
LOGS = RUN + "/logs"
# A client asks again by itself after 30 s: who waits less was called by a server.
CALLED = 12.0
CASES = []
# The guests' memory is a file each.
MEMORY = "/dev/shm" if shutil.disk_usage("/dev/shm").free > 2 << 30 else RUN


class Failed(Exception):
    pass


def case(work):
    CASES.append(work)
    return work


def check(condition, what):
    if not condition:
        raise Failed(what)


def run(*command, **options):
    return subprocess.run(command, check=True, **options)


def until(what, seconds, ask):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.02)
    raise Failed("%s: not within %d s" % (what, seconds))


class Server:
    """A machine with a server: a network namespace, with a port mapper and an rpc.statd where it has some."""

    def __init__(self, number, has_rpcbind):
        self.name, self.number, self.has_rpcbind = "s%d" % number, number, has_rpcbind
        self.process, self.addresses = None, set()
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", "v" + self.name, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", "v" + self.name, "master", "bridge", "up")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "eth0", "up")
        # An address that is given away takes no other one of its network with it.
        self.in_network("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/promote_secondaries")
        self.take(number)
        self.config = "%s/%s.yaml" % (RUN, self.name)
        with open(self.config, "w") as file:
            file.write(CONFIGURATION.format(run=RUN, port=os.environ["E2E_PG_PORT"],
                                            portmap="rpcbind" if has_rpcbind else "serve"))
        if has_rpcbind:
            folder = "%s/%s.nfs" % (RUN, self.name)
            os.makedirs(folder + "/sm")
            os.makedirs(folder + "/sm.bak")
            # Their sockets and states are this machine's alone.
            self.helpers = self.inside(
                "mount -t tmpfs run /run && mkdir /run/rpcbind && mount --bind %s /var/lib/nfs && rpcbind -w && "
                "rpc.statd --no-notify -F" % folder, LOGS + "/statd")
            until("rpc.statd", 20, lambda: "status" in self.rpcinfo())

    def ip(self, *command):
        run("ip", "-n", self.name, *command)

    def in_network(self, *command, **options):
        return run("ip", "netns", "exec", self.name, *command, **options)

    def rpcinfo(self):
        done = subprocess.run(["ip", "netns", "exec", self.name, "rpcinfo", "-p", "127.0.0.1"],
                              capture_output=True, text=True)
        return done.stdout

    def inside(self, command, log):
        with open(log, "a") as to:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, "unshare", "--uts", "--mount", "sh", "-c",
                 "hostname %s && %s" % (self.name, command)],
                stdin=subprocess.DEVNULL, stdout=to, stderr=to, start_new_session=True)

    def page(self, path):
        """A page of the server's admin port."""
        fetch = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
        return self.in_network("python3", "-c", fetch, "http://127.0.0.1:12080" + path, capture_output=True, text=True).stdout

    def take(self, number):
        self.ip("address", "add", "10.77.0.%d/24" % number, "dev", "eth0")
        self.addresses.add(number)

    def give(self, number, to):
        self.ip("address", "del", "10.77.0.%d/24" % number, "dev", "eth0")
        self.addresses.discard(number)
        to.take(number)
        # The clients' neighbour tables have the former machine for up to a minute otherwise.
        to.in_network("python3", REPO + "/e2e/lib/announce.py", "eth0", "10.77.0.%d" % number)
        self.ip("neigh", "flush", "all")
        to.ip("neigh", "flush", "all")

    def start(self):
        log = "%s/%s.log" % (LOGS, self.name)
        # The socket of rpcbind is in the file system of its helpers' namespace; over loopback it is asked as well.
        self.process = self.inside("exec %s serve --config %s" % (BINARY, self.config), log)
        until(self.name, 60, lambda: "nlockmgr" in self.rpcinfo())

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        # As when the machine is gone. Else its kernel has the ends of connections for a minute, which answer a client
        # that has used the same port with another server meanwhile.
        self.in_network("ss", "--kill", "--all", "--numeric", "--tcp", "sport", "=", ":2049", stdout=subprocess.DEVNULL)

    def end(self):
        for process in [self.process, getattr(self, "helpers", None)]:
            if process is not None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


CONFIGURATION = """
server: {{ listen: "0.0.0.0:2049", portmap: {portmap} }}
admin: {{ listen: "127.0.0.1:12080" }}
locks: {{ expire_after: 1m }}
metadata:
  stores:
    names: {{ type: postgres, postgres: {{ host: "{run}/postgres", port: {port}, database: locks, user: postgres,
      password: none, max_conns: 12, auto_migrate: true }} }}
content: {{ stores: {{ bytes: {{ type: filesystem, filesystem: {{ base_path: "{run}/content" }} }} }} }}
shares:
  - name: /export
    metadata_store: names
    content_store: bytes
    root: {{ uid: 0, gid: 0, mode: "0777" }}
    clients: [ {{ network: 10.77.0.0/24, access: rw, squash: no_root_squash }} ]
"""


class Client:
    """A guest."""

    def __init__(self, name, number):
        self.name, self.number, self.orders = name, number, 0
        self.control, self.process = "%s/%s" % (RUN, name), None
        self.tap = "t" + name
        run("ip", "tuntap", "add", "dev", self.tap, "mode", "tap")
        run("ip", "link", "set", self.tap, "master", "bridge", "up")

    def start(self):
        for folder in ["orders", "answers", "uml"]:
            shutil.rmtree("%s/%s" % (self.control, folder), ignore_errors=True)
            os.makedirs("%s/%s" % (self.control, folder))
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self.control + "/ready")
        with open(self.control + "/environment", "w") as file:
            file.write("export E2E_NAME=client-%s E2E_PROGRAM=run-agent\n" % self.name)
        with open(RUN + "/uml.command") as file:
            command = file.read().split("\n")[:-1]
        command += ["mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
                    "init=%s/e2e/guest/init" % REPO, "uml_dir=%s/uml" % self.control, "umid=" + self.name, "con=null",
                    "con0=null,fd:1", "ssl0=null,fd:2", "vec0:transport=tap,ifname=%s,depth=64,gro=1" % self.tap,
                    "quiet", "norandmaps", "panic=-1", "E2E_REPO=" + REPO, "E2E_SHARE=" + self.control,
                    "E2E_ADDRESS=10.77.0.%d/24" % self.number, "E2E_INTERFACE=vec0", "E2E_OUTPUT=/dev/ttyS0",
                    "E2E_PROGRAM=run-agent"]
        with open("%s/%s.console" % (LOGS, self.name), "a") as console, \
                open("%s/%s.output" % (LOGS, self.name), "a") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=output,
                                            start_new_session=True, env={**os.environ, "TMPDIR": MEMORY})

    def ready(self):
        until("client " + self.name, 60, lambda: os.path.isdir(self.control + "/ready"))

    def kill(self):
        # Its processes are in sessions of their own; all name its folder.
        name = ("uml_dir=%s/uml" % self.control).encode()

        def is_gone():
            for process in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    with open("/proc/%s/cmdline" % process, "rb") as file:
                        if name in file.read():
                            os.kill(int(process), signal.SIGKILL)
            # The last of them gives the tap back, which the next guest cannot have before.
            shown = subprocess.run(["ip", "link", "show", self.tap], capture_output=True, text=True)
            return "NO-CARRIER" in shown.stdout

        until("the end of client " + self.name, 30, is_gone)
        self.process.wait()

    def order(self, **order):
        self.orders += 1
        path = "%s/orders/%d" % (self.control, self.orders)
        # The agent reads whole files: the new name is no number.
        with open(self.control + "/new", "w") as file:
            json.dump(order, file)
        os.rename(self.control + "/new", path)
        return self.orders

    def answer(self, number, seconds=60):
        def read():
            with contextlib.suppress(FileNotFoundError):
                with open("%s/answers/%d" % (self.control, number)) as file:
                    return file.read()
        return json.loads(until("answer of %s" % self.name, seconds, read))

    def answered(self, number):
        return os.path.exists("%s/answers/%d" % (self.control, number))

    def take(self, path, seconds=60, **options):
        """The order's number, once the lock is there."""
        number = self.order(op="take", path=path, **options)
        answer = self.answer(number, seconds)
        check(answer["errno"] is None, "%s takes %s: %s" % (self.name, path, answer["errno"]))
        return number

    def refused(self, path, **options):
        answer = self.answer(self.order(op="take", path=path, **options))
        check(answer["errno"] == "EAGAIN", "%s takes %s: %s" % (self.name, path, answer))

    def waits(self, path, **options):
        number = self.order(op="take", path=path, wait=True, **options)
        time.sleep(0.7)
        check(not self.answered(number), "%s waits for %s" % (self.name, path))
        return number

    def gets(self, number, seconds=CALLED):
        """How long it took."""
        began = time.monotonic()
        answer = self.answer(number, seconds)
        check(answer["errno"] is None, "%s waited: %s" % (self.name, answer["errno"]))
        return time.monotonic() - began

    def release(self, number):
        self.answer(self.order(op="release", of=number))

    def shell(self, command, seconds=120):
        answer = self.answer(self.order(op="shell", command=command), seconds)
        check(answer["status"] == 0, "%s: %s: %s" % (self.name, command, answer["output"]))
        return answer["output"]


class World:
    def __init__(self):
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "address", "add", "10.77.0.254/24", "dev", "bridge")
        run("ip", "link", "set", "bridge", "up")
        os.makedirs(RUN + "/content")
        run("psql", "-X", "-q", "-h", RUN + "/postgres", "-p", os.environ["E2E_PG_PORT"], "-U", "postgres",
            "-c", "CREATE DATABASE locks", "postgres")
        self.one, self.two = Server(1, False), Server(2, True)
        self.a, self.b = Client("a", 11), Client("b", 12)
        self.files = 0

    def start(self):
        self.one.start()
        self.two.start()
        for client in [self.a, self.b]:
            client.start()
        for client in [self.a, self.b]:
            client.ready()

    def file(self):
        """A new file's path by the first and by the second server."""
        self.files += 1
        name = "f%d" % self.files
        self.a.shell("echo 0123456789 > /mnt/1/" + name)
        self.b.shell("ls /mnt/1/%s /mnt/2/%s" % (name, name))
        return "/mnt/1/" + name, "/mnt/2/" + name

    def locks(self, *options):
        done = run(BINARY, "locks", "--config", self.one.config, "--json", *options, capture_output=True, text=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def end(self):
        for each in [self.a, self.b]:
            if each.process is not None:
                each.kill()
        self.one.end()
        self.two.end()


@case
def locks_of_one_client_are_in_the_way_of_the_other(it):
    for how in ["fcntl", "flock"]:
        one, two = it.file()
        held = it.a.take(one, how=how)
        it.b.refused(one, how=how)
        it.b.refused(two, how=how)
        it.b.refused(two, how=how, shared=True)
        it.a.release(held)
        held = it.b.take(two, how=how)
        it.a.refused(one, how=how)
        it.b.release(held)
        shared = it.a.take(one, how=how, shared=True)
        it.b.release(it.b.take(two, how=how, shared=True))
        it.a.release(shared)
    one, two = it.file()
    held = it.a.take(one, start=0, length=5)
    it.b.release(it.b.take(two, start=5, length=5))
    it.a.release(held)


@case
def who_waits_is_called_by_either_server(it):
    one, two = it.file()
    worst = {}
    for path in [one, two, one, two]:
        for how in ["fcntl", "flock"]:
            held = it.a.take(one, how=how)
            waiting = it.b.waits(path, how=how)
            it.a.release(held)
            took = it.b.gets(waiting)
            worst[path] = max(worst.get(path, 0), took)
            it.b.release(waiting)
    return "one server %.2f s, two servers %.2f s" % (worst[one], worst[two])


@case
def a_wait_that_is_interrupted_takes_nothing(it):
    one, two = it.file()
    held = it.a.take(one)
    number = it.b.order(op="take", path=two, wait=True, alarm=1)
    check(it.b.answer(number)["errno"] == "EINTR", "it is interrupted")
    it.a.release(held)
    it.a.release(it.a.take(one))
    check(it.locks("--waiting") == [], "nothing waits")


@case
def a_sqlite_database_is_one_for_both(it):
    work = (
        "import sqlite3; db = sqlite3.connect('/mnt/%d/db', timeout=60, isolation_level=None)\n"
        "db.execute('CREATE TABLE IF NOT EXISTS n (who TEXT, v INTEGER)')\n"
        "for i in range(25):\n"
        "    db.execute('BEGIN IMMEDIATE')\n"
        "    n = db.execute('SELECT COALESCE(max(v), 0) FROM n').fetchone()[0]\n"
        "    db.execute('INSERT INTO n VALUES (?, ?)', ('%s', n + 1))\n"
        "    db.execute('COMMIT')\n")
    command = "python3 -c \"%s\""
    numbers = [(client, client.order(op="shell", command=command % (work % (server, client.name))))
               for server, client in [(1, it.a), (2, it.b)]]
    for client, number in numbers:
        answer = client.answer(number, 240)
        check(answer["status"] == 0, answer["output"])
    for client, server in [(it.a, 2), (it.b, 1)]:
        output = client.shell("sqlite3 /mnt/%d/db 'SELECT count(*), max(v), count(DISTINCT v) FROM n; "
                              "PRAGMA integrity_check'" % server)
        check(output.split() == ["50|50|50", "ok"], output)


@case
def git_of_both_pushes_to_one_repository(it):
    it.a.shell("git init -q --bare /mnt/1/git")
    work = (
        "export HOME=/tmp GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0={0} "
        "GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1={0}@x GIT_CONFIG_KEY_2=safe.directory GIT_CONFIG_VALUE_2='*'; "
        "cd /tmp && rm -rf w && git clone -q /mnt/{1}/git w && cd w && git checkout -q -B main && for i in 1 2 3; do "
        "echo $i > {0}$i && git add . && git commit -q -m {0}$i; for t in $(seq 40); do git pull -q --rebase origin main "
        "2>/dev/null; git push -q origin main 2>/dev/null && break; sleep 0.2; done; done; git pull -q --rebase origin main; "
        "test $(git rev-list --count origin/main) -ge 3")
    numbers = [(client, client.order(op="shell", command=work.format(client.name, server)))
               for server, client in [(1, it.a), (2, it.b)]]
    for client, number in numbers:
        answer = client.answer(number, 240)
        check(answer["status"] == 0, answer["output"])
    output = it.b.shell("cd /mnt/2/git && git -c safe.directory='*' fsck --full && "
                        "git -c safe.directory='*' rev-list --count main")
    check(output.split()[-1] == "6", output)


@case
def a_killed_server_loses_no_lock_and_no_wait(it):
    one, _ = it.file()
    held = it.a.take(one)
    waiting = it.b.waits(one)
    it.one.kill()
    it.one.start()
    time.sleep(1)
    it.b.refused(one)
    it.a.release(held)
    took = it.b.gets(waiting, 25)
    it.a.refused(one)
    it.b.release(waiting)
    it.a.release(it.a.take(one))
    return "%.1f s after the lock was given back" % took


@case
def a_server_that_takes_over_the_address_has_locks_and_waits(it):
    one, _ = it.file()
    held = it.a.take(one)
    waiting = it.b.waits(one)
    it.one.kill()
    it.one.give(1, it.two)
    it.a.release(held)
    took = it.b.gets(waiting, 25)
    it.a.refused(one)
    it.b.release(waiting)
    it.a.release(it.a.take(one))
    it.two.give(1, it.one)
    it.one.start()
    it.b.release(it.b.take(one))
    return "%.1f s" % took


@case
def servers_that_change_their_addresses_keep_locks_and_waits(it):
    one, two = it.file()
    other, _ = it.file()
    held, also = it.a.take(one), it.b.take(other)
    waiting = it.b.waits(one)
    it.one.give(1, it.two)
    it.two.give(2, it.one)
    it.a.release(held)
    took = it.b.gets(waiting, 25)
    it.a.refused(two)
    it.a.refused(other)
    it.b.release(also)
    it.b.release(waiting)
    it.a.release(it.a.take(two))
    it.one.give(2, it.two)
    it.two.give(1, it.one)
    it.a.release(it.a.take(one))
    it.b.release(it.b.take(two))
    return "%.1f s" % took


@case
def a_client_that_dies_and_comes_back_frees_its_locks(it):
    (one, _), (_, two) = it.file(), it.file()
    it.b.take(one)
    it.b.take(two)
    # The server on the machine with its own rpc.statd asks that for notices.
    time.sleep(15)
    it.b.kill()
    it.a.refused(one)
    waiting = [it.a.waits(one), it.a.waits(two)]
    it.b.start()
    began = time.monotonic()
    it.b.ready()
    up = time.monotonic()
    for number in waiting:
        it.a.gets(number, 40)
        it.a.release(number)
    return "%.1f s to boot, %.1f s until all was free" % (up - began, time.monotonic() - up)


@case
def a_client_that_is_gone_is_broken(it):
    one, two = it.file()
    it.b.take(one)
    it.b.kill()
    waiting = it.a.waits(two)
    found = it.locks("--client", "10.77.0.12")
    check([(lock["state"], lock["name"]) for lock in found] == [("held", "client-b")], found)
    run(BINARY, "locks", "break", "--config", it.one.config, "--client", "10.77.0.12", "--yes", stdout=subprocess.DEVNULL)
    took = it.a.gets(waiting)
    it.a.release(waiting)
    it.b.start()
    it.b.ready()
    return "%.1f s" % took


@case
def a_client_that_is_silent_is_shown_and_expires(it):
    (one, two), (other, _) = it.file(), it.file()
    idle = it.a.take(other)
    it.b.take(one)

    def shown():
        clients = json.loads(it.two.page("/api/v1/locks"))["clients"]
        return {client["name"]: client["held"] for client in clients if client["held"]} == {"client-a": 1, "client-b": 1}

    # They are counted every ten seconds.
    until("both at the admin port", 30, shown)
    check("client-b" in it.two.page("/"), "the status page shows it")
    check('trunkfs_locks{state="held"} 2' in it.two.page("/metrics"), "the metrics count it")
    it.b.kill()
    began = time.monotonic()
    waiting = it.a.waits(two)
    it.a.gets(waiting, 150)
    took = time.monotonic() - began
    check(took > 30, "not before its time: %.1f s" % took)
    freed = [server.page("/metrics") for server in [it.one, it.two]]
    check(any('trunkfs_locks_freed_total{reason="expired"} 1' in page for page in freed), "the metrics count it")
    held = it.locks("--client", "10.77.0.11")
    check([lock["state"] for lock in held] == ["held", "held"], "a client that answers keeps an idle lock: %s" % held)
    for number in [waiting, idle]:
        it.a.release(number)
    it.b.start()
    it.b.ready()
    return "%.1f s" % took


@case
def connectathon(it):
    programs = [name for name in ["tlocklfs", "tlock64"] if os.path.exists("%s/%s" % (RUN, name))]
    if not programs:
        return "not run: --cthon names its sources"
    for client, server in [(it.a, 1), (it.b, 2)]:
        for program in programs:
            shutil.copy("%s/%s" % (RUN, program), client.control)
            client.shell(
                "mkdir -p /mnt/{0}/cthon && cd /mnt/{0}/cthon && timeout 600 /run/share/{1} . >/run/share/{1}.out 2>&1 "
                "|| {{ tail -n 40 /run/share/{1}.out; false; }}".format(server, program), 700)
    return "%d of 2" % len(programs)


def main():
    wanted = sys.argv[1:]
    world, failed = World(), 0
    try:
        world.start()
        for work in CASES:
            if wanted and work.__name__ not in wanted:
                continue
            began = time.monotonic()
            try:
                note = work(world)
                print("ok %s (%.1f s)%s" % (work.__name__, time.monotonic() - began, ": " + note if note else ""), flush=True)
            except Failed as error:
                failed += 1
                print("not ok %s: %s" % (work.__name__, error), flush=True)
                break
    finally:
        world.end()
    print("== locks-two: %s" % ("failed; logs are in target/e2e/locks-two" if failed else "passed"))
    sys.exit(bool(failed))


main()
