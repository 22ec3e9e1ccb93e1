"""Writers for a server that is killed again and again. Each knows what it was told is done, and at the end compares all
of it, byte for byte. Every step ends with fsync, fdatasync or close, so that a step which returned is acknowledged."""

import errno
import os
import random
import threading

from cases import Failed, check, equal, folder, join, read, wait_for, write

MAX_FILE = 9 << 20
# Another server knows what a dead one has done: a call that is repeated has the same answer.
STRICT = os.environ["E2E_SUITE"] == "failover.py"


def pattern(seed, size):
    """Bytes that no hole and no other file has."""
    return random.Random(seed).randbytes(size).replace(b"\0", b"\1")


def tolerant(number, function, *arguments):
    """A call whose reply was lost is done twice by the client: the second time may say it is done already."""
    try:
        function(*arguments)
    except OSError as error:
        if STRICT or error.errno != number:
            raise


def save(path, data):
    """As a careful program saves: a new file, synced, renamed over the old one, the folder synced."""
    temporary = path + ".tmp"
    descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
    os.write(descriptor, data)
    os.fsync(descriptor)
    os.close(descriptor)
    try:
        os.rename(temporary, path)
    except FileNotFoundError:
        # The rename was done, its reply died with the server, and the client's second call found nothing left.
        if STRICT or os.path.exists(temporary) or read(path) != data:
            raise
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def same(found, wanted, what):
    equal(len(found), len(wanted), "the size of %s" % what)
    if found == wanted:
        return
    wrong = [at for at in range(len(found)) if found[at] != wanted[at]]
    runs = [at for at in wrong if at - 1 < 0 or found[at - 1] == wanted[at - 1]][:8]
    zeros = sum(found[at] == 0 for at in wrong)
    raise Failed("%s: %d wrong bytes of %d, %d of them zeros, from %s to %d" % (what, len(wrong), len(found), zeros, runs, wrong[-1]))


def write_all(descriptor, data, offset):
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


class Work(threading.Thread):
    """Does step(0), step(1), … until told to stop; `acknowledged` counts those that returned."""

    def __init__(self, step):
        super().__init__(daemon=True)
        self.step, self.acknowledged, self.error, self.ended = step, 0, None, False
        self.start()

    def run(self):
        try:
            while not self.ended:
                self.step(self.acknowledged)
                self.acknowledged += 1
        except Exception as error:
            self.error = error

    def proceed(self, steps, seconds=60):
        """Waits for so many more steps."""
        goal = self.acknowledged + steps
        wait_for(lambda: self.acknowledged >= goal or self.error, seconds, "%d more steps of the writer" % steps)
        if self.error:
            raise Failed("the writer failed: %s: %s" % (type(self.error).__name__, self.error))

    def finish(self):
        self.ended = True
        self.join(60)
        check(not self.is_alive(), "the writer hangs")
        if self.error:
            raise Failed("the writer failed: %s: %s" % (type(self.error).__name__, self.error))


class Writer:
    """step(0), step(1), … until close(); then verify()."""

    def close(self):
        pass


class Saver(Writer):
    """Files that are replaced whole, and sometimes removed."""

    def __init__(self, path, seed):
        self.path, self.random, self.seed, self.files = folder(path), random.Random(seed), seed, {}

    def step(self, number):
        name = "file%d" % self.random.randrange(24)
        if self.files.get(name) and self.random.random() < 0.15:
            tolerant(errno.ENOENT, os.unlink, join(self.path, name))
            del self.files[name]
            return
        made = (self.seed * 1_000_000 + number, self.random.choice([1, 300, 5_000, 70_000, 1_500_000]))
        save(join(self.path, name), pattern(*made))
        self.files[name] = made

    def verify(self):
        equal(sorted(os.listdir(self.path)), sorted(self.files), "the saved files")
        for name, made in self.files.items():
            equal(read(join(self.path, name)) == pattern(*made), True, "the content of %s" % name)


class Changer(Writer):
    """One file that is written in place, cut and made longer, against the same bytes in memory."""

    def __init__(self, path, seed):
        self.path, self.random, self.data, self.history = path, random.Random(seed), bytearray(), []
        self.descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)

    def step(self, number):
        choice = self.random.random()
        if choice < 0.12:
            size = self.random.randrange(MAX_FILE)
            os.ftruncate(self.descriptor, size)
            self.history.append((number, min(size, len(self.data)), MAX_FILE, "cut to %d" % size))
            del self.data[size:]
            self.data.extend(bytes(size - len(self.data)))
            os.fsync(self.descriptor)
            return
        for part in range(self.random.choice([1, 1, 1, 5])):
            new = pattern(number * 10 + part, self.random.choice([1, 700, 4096, 40_000, 600_000]))
            offset = self.random.randrange(min(MAX_FILE - len(new), len(self.data) + 500_000) + 1)
            write_all(self.descriptor, new, offset)
            self.history.append((number, offset, offset + len(new), "written"))
            self.data.extend(bytes(max(0, offset + len(new) - len(self.data))))
            self.data[offset : offset + len(new)] = new
        os.fdatasync(self.descriptor)

    def close(self):
        os.close(self.descriptor)

    def verify(self):
        found = read(self.path)
        equal(len(found), len(self.data), "the size of the changed file")
        if found == self.data:
            return
        wrong = [at for at in range(len(found)) if found[at] != self.data[at]]
        first, last = wrong[0], wrong[-1]
        touched = [what for what in self.history if what[1] <= last and what[2] > first][-5:]
        what = "%d wrong bytes from %d to %d: %.40r, not %.40r; the last changes there: %s"
        raise Failed(what % (len(wrong), first, last, found[first:], bytes(self.data[first:]), touched))


class Logger(Writer):
    """A log to which synced lines are added."""

    def __init__(self, path, seed):
        self.path, self.seed, self.count = path, seed, 0
        self.descriptor = os.open(write(path), os.O_WRONLY | os.O_APPEND)

    def line(self, number):
        return b"%d: line %08d\n" % (self.seed, number) * (number % 5 + 1)

    def step(self, number):
        os.write(self.descriptor, self.line(number))
        os.fsync(self.descriptor)
        self.count = number + 1

    def close(self):
        os.close(self.descriptor)

    def verify(self):
        equal(read(self.path) == b"".join(map(self.line, range(self.count))), True, "every line of the log once")


class Copier(Writer):
    """Files that are written in small pieces and closed, without any fsync: close is the acknowledgement."""

    def __init__(self, path, seed):
        self.path, self.random, self.seed, self.sizes = folder(path), random.Random(seed), seed, []

    def step(self, number):
        size = self.random.choice([20_000, 300_000, 5_000_000]) if number < 150 else 20_000
        data = pattern(self.seed * 1_000_000 + number, size)
        with open(join(self.path, "copy%d" % number), "wb", buffering=0) as file:
            for start in range(0, size, 9_999):
                file.write(data[start : start + 9_999])
        self.sizes.append(size)

    def verify(self):
        equal(sorted(os.listdir(self.path)), sorted("copy%d" % i for i in range(len(self.sizes))), "the copies")
        for i, size in enumerate(self.sizes):
            same(read(join(self.path, "copy%d" % i)), pattern(self.seed * 1_000_000 + i, size), "copy %d" % i)


class Namer(Writer):
    """Names that are made, moved, linked and removed."""

    def __init__(self, path, _seed):
        self.a, self.b, self.count = join(folder(path), "a"), join(path, "b"), 0
        folder(self.a)
        folder(self.b)

    def step(self, number):
        a, b, i = self.a, self.b, number
        tolerant(errno.EEXIST, os.mkdir, join(a, "folder%d" % i))
        tolerant(errno.EEXIST, os.symlink, "target%d" % i, join(a, "link%d" % i))
        write(join(a, "file%d" % i), b"%d" % i)
        tolerant(errno.EEXIST, os.link, join(a, "file%d" % i), join(b, "hard%d" % i))
        tolerant(errno.ENOENT, os.rename, join(a, "folder%d" % i), join(b, "folder%d" % i))
        if i % 2:
            tolerant(errno.ENOENT, os.unlink, join(a, "file%d" % i))
            tolerant(errno.ENOENT, os.rmdir, join(b, "folder%d" % i))
        self.count = number + 1

    def verify(self):
        a, b, n = self.a, self.b, self.count
        want_a = ["link%d" % i for i in range(n)] + ["file%d" % i for i in range(0, n, 2)]
        want_b = ["hard%d" % i for i in range(n)] + ["folder%d" % i for i in range(0, n, 2)]
        equal(sorted(os.listdir(a)), sorted(want_a), "names in a")
        equal(sorted(os.listdir(b)), sorted(want_b), "names in b")
        equal(os.stat(b).st_nlink, 2 + len(range(0, n, 2)), "links of b")
        for i in range(n):
            path = join(b, "hard%d" % i)
            equal((read(path), os.stat(path).st_nlink), (b"%d" % i, 1 + (i + 1) % 2), "file %d" % i)
            equal(os.readlink(join(a, "link%d" % i)), "target%d" % i, "symlink %d" % i)


def writers(path, seed):
    """One of each, and two of those that change bytes in place."""
    made = [Saver(join(path, "saved"), seed), Copier(join(path, "copied"), seed), Namer(join(path, "named"), seed)]
    made += [Changer(join(path, "changed%d" % i), seed + i) for i in range(2)]
    made.append(Logger(join(path, "log"), seed))
    check(len(os.listdir(path)) == 6, "six writers, each with a place of its own")
    return made
