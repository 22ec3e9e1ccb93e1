#!/usr/bin/env python3
"""Reading and writing: appends, truncation, holes, maps, large files, several processes."""

import errno
import hashlib
import mmap
import os
import random

from cases import case, check, digest, equal, join, main, parallel, read, refused, remount, write


@case
def appends_go_to_the_end(d):
    path = join(d, "file")
    for i in range(50):
        with open(path, "ab") as file:
            file.write(b"line %02d\n" % i)
    want = b"".join(b"line %02d\n" % i for i in range(50))
    equal(read(path), want)
    remount()
    equal(read(path), want)


@case
def an_append_ignores_the_position(d):
    path = write(join(d, "file"), b"0123456789")
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, b"ab")
    os.close(descriptor)
    equal(read(path), b"0123456789ab")


@case
def concurrent_appends_are_all_there(d):
    path = write(join(d, "log"))

    def appender(which):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        for i in range(150):
            os.write(descriptor, (b"%d:%04d:" % (which, i)).ljust(99, b".") + b"\n")
        os.fsync(descriptor)
        os.close(descriptor)

    parallel(*[lambda which=which: appender(which) for which in range(4)])
    remount()
    lines = read(path).split(b"\n")
    equal(lines.pop(), b"", "what follows the last line")
    want = sorted((b"%d:%04d:" % (w, i)).ljust(99, b".") for w in range(4) for i in range(150))
    equal(len(lines), 600, "lines")
    equal(sorted(lines) == want, True, "every line once and whole")
    for which in range(4):
        own = [line for line in lines if line.startswith(b"%d:" % which)]
        equal(own == sorted(own), True, "the order of writer %d" % which)


@case
def concurrent_writers_of_one_file_keep_their_parts(d):
    path = write(join(d, "file"))
    size = 300_000 + 17  # no multiple of a page

    def writer(which):
        descriptor = os.open(path, os.O_WRONLY)
        for start in range(0, size, 7001):
            os.pwrite(descriptor, bytes([65 + which]) * min(7001, size - start), which * size + start)
        os.fsync(descriptor)
        os.close(descriptor)

    parallel(*[lambda which=which: writer(which) for which in range(4)])
    remount()
    equal(read(path) == b"".join(bytes([65 + w]) * size for w in range(4)), True, "the content")


@case
def truncation_cuts_and_extends_with_zeros(d):
    path = write(join(d, "file"), b"x" * 10000)
    os.truncate(path, 5000)
    equal((os.stat(path).st_size, read(path)), (5000, b"x" * 5000))
    os.truncate(path, 9000)
    want = b"x" * 5000 + b"\0" * 4000
    equal(read(path) == want, True, "zeros where the file was cut and extended")
    remount()
    equal(read(path) == want, True, "the same after a new mount")
    os.truncate(path, 0)
    equal((os.stat(path).st_size, read(path)), (0, b""))


@case
def a_cut_file_never_shows_its_old_end(d):
    for cut in (1, 100, 4095, 4096, 4097, 65536, 100001):
        path = write(join(d, "file"), b"secret" * 50000)
        os.truncate(path, cut)
        descriptor = os.open(path, os.O_RDWR)
        os.pwrite(descriptor, b"end", 299_997)
        os.close(descriptor)
        remount()
        want = (b"secret" * 50000)[:cut].ljust(299_997, b"\0") + b"end"
        equal(read(path) == want, True, "zeros between %d and the new end" % cut)


@case
def open_with_truncation_empties(d):
    path = write(join(d, "file"), b"old content")
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    equal(os.stat(path).st_size, 0, "size")
    os.write(descriptor, b"new")
    os.close(descriptor)
    equal(read(path), b"new")
    remount()
    equal(read(path), b"new")


@case
def truncation_while_another_has_it_open(d):
    path = write(join(d, "file"), b"x" * 8000)
    with open(path, "r+b", buffering=0) as file:
        equal(len(file.read()), 8000)
        os.truncate(path, 100)
        equal(os.pread(file.fileno(), 8000, 0), b"x" * 100)
        os.pwrite(file.fileno(), b"y", 200)
        equal(os.pread(file.fileno(), 8000, 0), b"x" * 100 + b"\0" * 100 + b"y")


@case
def holes_read_as_zeros(d):
    path = join(d, "file")
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    marks = [0, 10_000, 5_000_000, 5_000_123, 40_000_001]
    for i, place in enumerate(marks):
        os.pwrite(descriptor, b"mark%d" % i, place)
    os.close(descriptor)
    remount()
    equal(os.stat(path).st_size, 40_000_006, "size")
    with open(path, "rb") as file:
        data = file.read()
    for i, place in enumerate(marks):
        equal(data[place : place + 5], b"mark%d" % i)
    equal(sum(data) == sum(sum(b"mark%d" % i) for i in range(5)), True, "all the rest is zeros")


@case
def a_terabyte_of_hole(d):
    path = write(join(d, "file"))
    os.truncate(path, 1 << 40)
    remount()
    equal(os.stat(path).st_size, 1 << 40, "size")
    with open(path, "rb") as file:
        file.seek(777_777_777_777)
        equal(file.read(1000), b"\0" * 1000)
    with open(path, "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"tail")
    remount()
    with open(path, "rb") as file:
        file.seek((1 << 40) - 8)
        equal(file.read(), b"\0\0\0\0tail")


@case
def offsets_beyond_four_gigabytes(d):
    path = join(d, "file")
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    place = (5 << 30) + 3
    os.pwrite(descriptor, b"far away", place)
    os.pwrite(descriptor, b"near", 1)
    os.close(descriptor)
    remount()
    equal(os.stat(path).st_size, place + 8, "size")
    descriptor = os.open(path, os.O_RDONLY)
    equal(os.pread(descriptor, 100, place), b"far away")
    equal(os.pread(descriptor, 10, place - (1 << 32)), b"\0" * 10, "what is 4 GiB before it")
    os.close(descriptor)


@case
def reading_past_the_end_gives_nothing(d):
    path = write(join(d, "file"), b"12345")
    descriptor = os.open(path, os.O_RDONLY)
    equal(os.pread(descriptor, 10, 3), b"45")
    equal(os.pread(descriptor, 10, 5), b"")
    equal(os.pread(descriptor, 10, 1 << 40), b"")
    os.close(descriptor)


@case
def a_large_file_comes_back_whole(d):
    path = join(d, "file")
    total = hashlib.sha256()
    source = random.Random(7)
    block = source.randbytes(1 << 20)
    with open(path, "wb", buffering=0) as file:
        for i in range(200):
            piece = i.to_bytes(8, "big") + block[8:]
            total.update(piece)
            file.write(piece)
    equal(os.stat(path).st_size, 200 << 20, "size")
    remount()
    equal(os.stat(path).st_size, 200 << 20, "size after a new mount")
    equal(digest(path), total.hexdigest(), "checksum")
    os.unlink(path)


@case
def large_files_side_by_side(d):
    def worker(which):
        data = random.Random(which).randbytes(12_345_678)
        path = write(join(d, "file%d" % which), data)
        check(read(path) == data, "content of file %d" % which)

    parallel(*[lambda which=which: worker(which) for which in range(3)])
    remount()
    for which in range(3):
        equal(read(join(d, "file%d" % which)) == random.Random(which).randbytes(12_345_678), True, "content %d" % which)


@case
def a_shared_map_is_written_back(d):
    path = write(join(d, "file"), b"0" * 20000)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 20000) as view:
        equal(view[100:103], b"000")
        view[5000:5005] = b"first"
        view[19995:20000] = b"last!"
        view.flush()
    remount()
    want = b"0" * 5000 + b"first" + b"0" * 14990 + b"last!"
    equal(read(path) == want, True, "the content")


@case
def a_private_map_is_not(d):
    path = write(join(d, "file"), b"0" * 9000)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 9000, access=mmap.ACCESS_COPY) as view:
        view[0:4] = b"mine"
        equal(view[0:5], b"mine0")
    equal(read(path) == b"0" * 9000, True, "the file is as it was")


@case
def a_map_sees_what_is_written(d):
    path = write(join(d, "file"), b"0" * 5000)
    with open(path, "r+b", buffering=0) as file, mmap.mmap(file.fileno(), 5000) as view:
        os.pwrite(file.fileno(), b"written", 4000)
        equal(view[4000:4007], b"written")


@case
def direct_io(d):
    path = join(d, "file")
    buffer = mmap.mmap(-1, 1 << 16)  # aligned as O_DIRECT wants it
    buffer.write(os.urandom(1 << 16))
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    for i in range(4):
        equal(os.pwrite(descriptor, buffer, i << 16), 1 << 16)
    back = mmap.mmap(-1, 1 << 16)
    equal(os.preadv(descriptor, [back], 2 << 16), 1 << 16)
    equal(back[:] == buffer[:], True, "what is read back")
    os.close(descriptor)
    equal(read(path) == buffer[:] * 4, True, "the content")


@case
def synchronous_writes(d):
    path = join(d, "file")
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_SYNC)
    for i in range(20):
        os.write(descriptor, b"%03d\n" % i)
    os.close(descriptor)
    remount()
    equal(read(path), b"".join(b"%03d\n" % i for i in range(20)))


@case
def one_reader_sees_what_one_writer_closed(d):
    path = join(d, "file")
    for i in range(20):
        write(path, b"version %d" % i)
        equal(read(path), b"version %d" % i)


@case
def a_copy_within_the_mount(d):
    source = write(join(d, "source"), os.urandom(3_000_001))
    with open(source, "rb") as one, open(join(d, "copy"), "wb") as two:
        left = 3_000_001
        while left:
            left -= os.copy_file_range(one.fileno(), two.fileno(), left)
    remount()
    equal(digest(join(d, "copy")), digest(source), "checksum")


@case
def random_operations_agree_with_a_model(d):
    path = write(join(d, "file"))
    source = random.Random(20240607)
    model = bytearray()
    limit = 400_000
    descriptor = os.open(path, os.O_RDWR)
    for step in range(1500):
        what = source.randrange(100)
        place, length = source.randrange(limit), source.randrange(1, 30_000)
        if what < 40:
            data = source.randbytes(length)
            os.pwrite(descriptor, data, place)
            if len(model) < place:
                model.extend(b"\0" * (place - len(model)))
            model[place : place + length] = data
        elif what < 80:
            if os.pread(descriptor, length, place) != bytes(model[place : place + length]):
                check(False, "step %d: read of %d at %d differs" % (step, length, place))
        elif what < 92:
            os.ftruncate(descriptor, place)
            del model[place:]
            model.extend(b"\0" * (place - len(model)))
        elif what < 97:
            os.fsync(descriptor)
        elif model:
            end = min(len(model), place + length)
            if place < end:
                with mmap.mmap(descriptor, len(model)) as view:
                    data = source.randbytes(end - place)
                    view[place:end] = data
                    model[place:end] = data
        equal(os.fstat(descriptor).st_size, len(model), "size at step %d" % step)
        if step % 250 == 249:
            os.close(descriptor)
            remount()
            if read(path) != bytes(model):
                check(False, "after step %d the content read anew differs" % step)
            descriptor = os.open(path, os.O_RDWR)
    os.close(descriptor)


@case
def nothing_is_written_without_the_right_open(d):
    path = write(join(d, "file"), b"x")
    descriptor = os.open(path, os.O_RDONLY)
    refused(errno.EBADF, os.write, descriptor, b"y")
    refused(errno.EINVAL, os.ftruncate, descriptor, 0)
    os.close(descriptor)


main()
