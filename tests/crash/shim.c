/* Counts the calls that change files under SHIM_PREFIX and lets the SHIM_AT-th one fail.
 * SHIM_MODE: enospc, eio (it fails), short (half of a write), kill (before it), tear (half of a write, then
 * kill), count. SHIM_LOG gets one line with the name of the call that was hit. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long calls;

static int under(const char *path) {
  const char *prefix = getenv("SHIM_PREFIX");
  return prefix && strncmp(path, prefix, strlen(prefix)) == 0;
}

static int under_fd(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return under(path);
}

static int under_at(int dir, const char *name) {
  return name[0] == '/' ? under(name) : dir != AT_FDCWD && under_fd(dir);
}

/* What shall happen to this call: 0 nothing, 'e' error, 's' short, 'k' killed, 't' torn. */
static int hit(const char *name) {
  const char *at = getenv("SHIM_AT"), *mode = getenv("SHIM_MODE"), *log = getenv("SHIM_LOG");
  if (!at || !mode || atomic_fetch_add(&calls, 1) + 1 != atol(at)) return 0;
  if (log) {
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
      dprintf(fd, "%s\n", name);
      close(fd);
    }
  }
  if (mode[0] == 'k') {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  if (mode[0] == 'e') errno = mode[1] == 'n' ? ENOSPC : EIO;
  return mode[0];
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

#define REAL(type, name, ...)                                 \
  static type (*real)(__VA_ARGS__);                           \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t n) {
  REAL(ssize_t, "write", int, const void *, size_t);
  int what = under_fd(fd) ? hit("write") : 0;
  if (what == 'e') return -1;
  if (what == 's' && n > 1) return real(fd, data, n / 2);
  if (what == 't') {
    real(fd, data, n / 2);
    die();
  }
  return real(fd, data, n);
}

#define PWRITE(name)                                              \
  ssize_t name(int fd, const void *data, size_t n, off_t at) {    \
    REAL(ssize_t, #name, int, const void *, size_t, off_t);       \
    int what = under_fd(fd) ? hit(#name) : 0;                     \
    if (what == 'e') return -1;                                   \
    if (what == 's' && n > 1) return real(fd, data, n / 2, at);   \
    if (what == 't') {                                            \
      real(fd, data, n / 2, at);                                  \
      die();                                                      \
    }                                                             \
    return real(fd, data, n, at);                                 \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

#define SIMPLE(type, name, where, params, args)                   \
  type name params {                                              \
    static type(*real) params;                                    \
    if (!real) real = (type(*) params)dlsym(RTLD_NEXT, #name);    \
    int what = (where) ? hit(#name) : 0;                          \
    if (what == 'e') return -1;                                   \
    if (what == 't') die();                                       \
    return real args;                                             \
  }
SIMPLE(int, fsync, under_fd(fd), (int fd), (fd))
SIMPLE(int, fdatasync, under_fd(fd), (int fd), (fd))
SIMPLE(int, ftruncate, under_fd(fd), (int fd, off_t n), (fd, n))
SIMPLE(int, ftruncate64, under_fd(fd), (int fd, off_t n), (fd, n))
SIMPLE(int, rename, under(to), (const char *from, const char *to), (from, to))
SIMPLE(int, renameat, under_at(d, to), (int c, const char *from, int d, const char *to), (c, from, d, to))
SIMPLE(int, link, under(to), (const char *from, const char *to), (from, to))
SIMPLE(int, linkat, under_at(d, to), (int c, const char *from, int d, const char *to, int f), (c, from, d, to, f))
SIMPLE(int, unlinkat, under_at(d, name), (int d, const char *name, int f), (d, name, f))
SIMPLE(int, mkdirat, under_at(d, name), (int d, const char *name, mode_t m), (d, name, m))
