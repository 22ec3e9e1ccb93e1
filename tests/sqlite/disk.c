/* Stands before the C library in a process under test: writes and syncs of the database's files fail as the file
   that TRUNKFS_TEST_DISK names says: one word, or nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int says(const char *word)
{
    char text[32] = {0};
    const char *path = getenv("TRUNKFS_TEST_DISK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    return got > 0 && strcmp(text, word) == 0;
}

/* Whether it is one of the database's files; what is mapped into memory is not met here. */
static int is_database(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, ".sqlite") != NULL && strstr(path, "-shm") == NULL;
}

static int write_fails(int fd)
{
    if (!is_database(fd))
        return 0;
    if (says("full"))
        errno = ENOSPC;
    else if (says("write"))
        errno = EIO;
    else if (says("read-only"))
        errno = EROFS;
    else
        return 0;
    return 1;
}

static int sync_fails(int fd)
{
    if (!is_database(fd) || !says("sync"))
        return 0;
    errno = EIO;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *from, size_t size)
{
    return write_fails(fd) ? -1 : REAL(write)(fd, from, size);
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t at)
{
    return write_fails(fd) ? -1 : REAL(pwrite)(fd, from, size, at);
}

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at)
{
    return write_fails(fd) ? -1 : REAL(pwrite64)(fd, from, size, at);
}

int ftruncate(int fd, off_t size)
{
    return write_fails(fd) ? -1 : REAL(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return write_fails(fd) ? -1 : REAL(ftruncate64)(fd, size);
}

int fsync(int fd)
{
    return sync_fails(fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    return sync_fails(fd) ? -1 : REAL(fdatasync)(fd);
}
