"""What every suite in Python stands on: cases, assertions, users.

A suite is a file of functions marked with @case and a call of main() at its end. Each case gets a fresh
folder on the mount; its name is the function's. Every case prints one line, "ok NAME" or
"not ok NAME: why", and the last line is the plan, "1..N": a suite that dies on the way has none.
"""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
import traceback

MOUNT = os.environ["E2E_MOUNT"]
WORK = os.environ["E2E_WORK"]
LOCAL = os.environ["E2E_LOCAL"]
CONTROL = os.environ["E2E_CONTROL"]
# In an emulated machine what is repeated is repeated less often.
EMULATED = bool(os.environ["E2E_EMULATED"])
_cases = []
_asked = 0


class Failed(Exception):
    """An assertion that does not hold."""


def case(function):
    _cases.append(function)
    return function


def main():
    """Runs the cases of the suite, or those that E2E_CASES names."""
    wanted = os.environ.get("E2E_CASES", "").split()
    chosen = [c for c in _cases if not wanted or c.__name__ in wanted]
    os.umask(0o022)
    failed = 0
    for function in chosen:
        name = function.__name__
        folder = os.path.join(WORK, name)
        try:
            os.mkdir(folder)
            function(folder)
            print("ok", name, flush=True)
        except Exception as error:  # whatever a case meets is its own failure, not the suite's
            failed += 1
            frame = traceback.extract_tb(error.__traceback__)
            own = [f for f in frame if not f.filename.endswith("cases.py")][-1]
            what = str(error) if isinstance(error, Failed) else "%s: %s" % (type(error).__name__, error)
            print("not ok %s: line %d: %s" % (name, own.lineno, what.replace("\n", " ")), flush=True)
        os.chdir("/")
    print("1..%d" % len(chosen), flush=True)
    sys.exit(1 if failed else 0)


def note(text):
    """What the suite's line of the report says beside its count of cases."""
    print("note", text, flush=True)


def equal(got, want, what="value"):
    if got != want:
        raise Failed("%s is %.300r, not %.300r" % (what, got, want))


def check(condition, what):
    if not condition:
        raise Failed(what)


def refused(number, function, *arguments, **named):
    """The call fails with this errno, and with no other."""
    try:
        function(*arguments, **named)
    except OSError as error:
        if error.errno != number:
            raise Failed("%s: %s instead of %s" % (function.__name__, error, os.strerror(number))) from error
        return
    raise Failed("%s succeeded instead of: %s" % (function.__name__, os.strerror(number)))


def join(*parts):
    return os.path.join(*parts)


def write(path, data=b"", mode=0o644):
    """Makes or overwrites a file whose permissions are `mode`, whatever the umask."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(descriptor, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


def folder(path, mode=0o755, uid=0, gid=0):
    os.mkdir(path)
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    return path


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def digest(path):
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def remount():
    """Unmounts and mounts again: what is read from here on comes from the server."""
    os.chdir("/")
    subprocess.run([os.environ["E2E_REMOUNT"]], check=True, stdin=subprocess.DEVNULL)


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, "%s did not happen within %d s" % (what, seconds))
        time.sleep(0.05)


def server(what, seconds=60):
    """Asks the runner to do something with the server ("kill", "start", …), and waits until it is done."""
    global _asked
    _asked += 1
    os.mkdir(join(CONTROL, "request.%d.%s" % (_asked, what)))
    answer = join(CONTROL, "answer.%d" % _asked)
    wait_for(lambda: os.path.isdir(answer), seconds, "the server's " + what)


def parallel(*functions):
    """Runs the functions at the same time, each in a process; an exception in one is a failure here."""
    children = []
    for function in functions:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                function()
            except BaseException as error:
                os.write(writing, ("%s: %s" % (type(error).__name__, error)).encode()[:4000])
            os._exit(0)
        os.close(writing)
        children.append((child, reading))
    trouble = []
    for child, reading in children:
        with os.fdopen(reading, "rb") as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        if text:
            trouble.append(text.decode(errors="replace"))
    if trouble:
        raise Failed("; ".join(trouble))


class User:
    """Someone other than root. `run` does a call as this user, in a process of its own, and returns or
    raises what the call did."""

    def __init__(self, uid, gid, groups=()):
        self.uid, self.gid, self.groups = uid, gid, list(groups)

    def run(self, function, *arguments, **named):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            answer = "done "
            try:
                os.setgroups(self.groups)
                os.setresgid(self.gid, self.gid, self.gid)
                os.setresuid(self.uid, self.uid, self.uid)
                answer += repr(function(*arguments, **named))
            except OSError as error:
                answer = "errno %d" % (error.errno or 0)
            except BaseException as error:
                answer = "error %s: %s" % (type(error).__name__, error)
            os.write(writing, answer.encode()[:60000])
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            kind, _, text = pipe.read().decode().partition(" ")
        os.waitpid(child, 0)
        if kind == "errno":
            raise OSError(int(text), os.strerror(int(text)))
        if kind != "done":
            raise Failed("as user %d: %s" % (self.uid, text))
        return text

    def refused(self, number, function, *arguments, **named):
        """As this user the call fails with this errno."""

        def call():
            return self.run(function, *arguments, **named)

        call.__name__ = "%s by user %d" % (function.__name__, self.uid)
        refused(number, call)


def remove_tree(path):
    shutil.rmtree(path)
