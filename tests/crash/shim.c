/* Stands between a process and the calls that change files under a prefix, in one of these modes:
 *   enospc, eio   the N-th call fails              full, dead   the N-th and all later ones fail so
 *   short         the N-th write is done by half   kill, after  killed before, or after, the N-th call
 *   tear          killed after half of the N-th write
 *   stall         the N-th sync takes SHIM_STALL seconds more
 *   record        nothing is done; all calls are written to the log in the order in which they took effect
 * Set up by SHIM_PREFIX, SHIM_MODE, SHIM_AT, SHIM_LOG, or by shim_arm() in a forked child. But for `record` the
 * log gets the name of the first call that was hit. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char prefix[4096], mode[16];
static long wanted;
static int log_fd = -1;
static atomic_long calls, syncs;
static atomic_int told;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static unsigned stall_seconds;

long shim_calls(void) { return atomic_load(&calls); }

void shim_arm(const char *where, const char *how, long at, const char *log) {
  snprintf(prefix, sizeof prefix, "%s", where);
  wanted = at;
  atomic_store(&calls, 0);
  if (log) {
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 800);
    close(fd);
  }
  snprintf(mode, sizeof mode, "%s", how);
}

__attribute__((constructor)) static void from_environment(void) {
  const char *where = getenv("SHIM_PREFIX"), *how = getenv("SHIM_MODE"), *at = getenv("SHIM_AT");
  const char *stall = getenv("SHIM_STALL");
  if (stall) stall_seconds = atoi(stall);
  if (where && how) shim_arm(where, how, at ? atol(at) : 0, getenv("SHIM_LOG"));
}

static int is(const char *one) { return strcmp(mode, one) == 0; }

/* --- which calls are meant ----------------------------------------------------------------------- */
static int under(const char *path) {
  size_t n = strlen(prefix);
  return n && strncmp(path, prefix, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static int under_fd(int fd) {
  char link[64], path[4096];
  if (!mode[0] || fd == log_fd) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return under(path);
}

static int under_at(int dir, const char *name) {
  if (!mode[0]) return 0;
  return name[0] == '/' ? under(name) : dir != AT_FDCWD && under_fd(dir);
}

/* --- what shall happen to them --------------------------------------------------------------------- */
enum kind { CHANGE, WRITE, SYNC };
enum fate { PASS, FAIL, HALF, DIE_FIRST, DIE_HALF, DIE_AFTER, LATE, RECORD };

static enum fate hit(const char *name, enum kind kind) {
  if (is("record")) return RECORD;
  if ((is("short") || is("tear")) && kind != WRITE) return PASS;
  if (is("stall") && kind != SYNC) return PASS;
  long n = atomic_fetch_add(&calls, 1) + 1;
  int lasting = is("full") || is("dead");
  if (lasting ? n < wanted : n != wanted) return PASS;
  if (is("full") && kind == SYNC) return PASS;
  if (log_fd >= 0 && !atomic_exchange(&told, 1)) dprintf(log_fd, "%s\n", name);
  if (is("enospc") || is("full") || is("eio") || is("dead")) {
    errno = is("enospc") || is("full") ? ENOSPC : EIO;
    return FAIL;
  }
  return is("short") ? HALF : is("kill") ? DIE_FIRST : is("tear") ? DIE_HALF : is("after") ? DIE_AFTER : LATE;
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/* --- the log of mode `record` -------------------------------------------------------------------------- */
struct entry {
  int64_t op, node, at, other;
  uint32_t name, other_name, data, unused;
};

static void note(char op, int64_t node, int64_t at, int64_t other, const char *name, const char *name2,
                 const void *data, size_t n) {
  static const char zeros[1 << 12];
  int all_zero = op == 'w' && n >= sizeof zeros;
  for (size_t i = 0; all_zero && i < n; i += sizeof zeros)
    all_zero = memcmp((const char *)data + i, zeros, n - i < sizeof zeros ? n - i : sizeof zeros) == 0;
  if (all_zero) op = 'z', other = n, n = 0;
  struct entry e = {op, node, at, other, name ? strlen(name) : 0, name2 ? strlen(name2) : 0, n, 0};
  struct iovec parts[] = {{&e, sizeof e}, {(void *)name, e.name}, {(void *)name2, e.other_name}, {(void *)data, n}};
  if (writev(log_fd, parts, 4) < 0) abort();
}

static int64_t node_of(int fd) {
  struct stat s;
  return fstat(fd, &s) ? -1 : (int64_t)s.st_ino;
}

/* The directory that a name stands in; `last` gets the name itself. */
static int64_t parent_of(int dir, const char *path, const char **last) {
  char copy[4096];
  struct stat s;
  *last = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  snprintf(copy, sizeof copy, "%s", path);
  if (path[0] != '/' && !strchr(path, '/')) return node_of(dir);
  return fstatat(dir, dirname(copy), &s, 0) ? -1 : (int64_t)s.st_ino;
}

static int64_t node_at(int dir, const char *path) {
  struct stat s;
  return fstatat(dir, path, &s, AT_SYMLINK_NOFOLLOW) ? -1 : (int64_t)s.st_ino;
}

static void note_name(char op, int dir, const char *path, int64_t node) {
  const char *last;
  int64_t parent = parent_of(dir, path, &last);
  note(op, parent, 0, node, last, NULL, NULL, 0);
}

static void note_names(char op, int from, const char *path, int to, const char *path2) {
  const char *last, *last2;
  int64_t parent = parent_of(from, path, &last), parent2 = parent_of(to, path2, &last2);
  note(op, parent, 0, parent2, last, last2, NULL, 0);
}

/* --- the calls ---------------------------------------------------------------------------------------------- */
#define REAL(type, name, ...)                                 \
  static type (*real)(__VA_ARGS__);                           \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t n) {
  REAL(ssize_t, "write", int, const void *, size_t);
  enum fate fate = under_fd(fd) ? hit("write", WRITE) : PASS;
  if (fate == FAIL) return -1;
  if (fate == DIE_FIRST) die();
  if (fate == RECORD) pthread_mutex_lock(&order);
  ssize_t done = real(fd, data, (fate == HALF && n > 1) || fate == DIE_HALF ? n / 2 : n);
  if (fate == DIE_HALF || fate == DIE_AFTER) die();
  if (fate == RECORD) {
    if (done > 0) note('w', node_of(fd), lseek(fd, 0, SEEK_CUR) - done, 0, NULL, NULL, data, done);
    pthread_mutex_unlock(&order);
  }
  return done;
}

#define PWRITE(name)                                                                         \
  ssize_t name(int fd, const void *data, size_t n, off_t at) {                               \
    REAL(ssize_t, #name, int, const void *, size_t, off_t);                                  \
    enum fate fate = under_fd(fd) ? hit(#name, WRITE) : PASS;                                \
    if (fate == FAIL) return -1;                                                             \
    if (fate == DIE_FIRST) die();                                                            \
    if (fate == RECORD) pthread_mutex_lock(&order);                                          \
    ssize_t done = real(fd, data, (fate == HALF && n > 1) || fate == DIE_HALF ? n / 2 : n, at); \
    if (fate == DIE_HALF || fate == DIE_AFTER) die();                                        \
    if (fate == RECORD) {                                                                    \
      if (done > 0) note('w', node_of(fd), at, 0, NULL, NULL, data, done);                   \
      pthread_mutex_unlock(&order);                                                          \
    }                                                                                        \
    return done;                                                                             \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

/* Writes from another file at the own position; what was written is read back for the log. */
#define SENDFILE(name)                                                                       \
  ssize_t name(int fd, int from, off_t *at, size_t n) {                                      \
    REAL(ssize_t, #name, int, int, off_t *, size_t);                                         \
    enum fate fate = under_fd(fd) ? hit(#name, WRITE) : PASS;                                \
    if (fate == FAIL) return -1;                                                             \
    if (fate == DIE_FIRST) die();                                                            \
    if (fate == RECORD) pthread_mutex_lock(&order);                                          \
    ssize_t done = real(fd, from, at, (fate == HALF && n > 1) || fate == DIE_HALF ? n / 2 : n); \
    if (fate == DIE_HALF || fate == DIE_AFTER) die();                                        \
    if (fate == RECORD) {                                                                    \
      if (done > 0) note_sent(fd, done);                                                     \
      pthread_mutex_unlock(&order);                                                          \
    }                                                                                        \
    return done;                                                                             \
  }
static void note_sent(int fd, size_t n) {
  off_t start = lseek(fd, 0, SEEK_CUR) - n;
  char *data = malloc(n);
  if (!data || pread(fd, data, n, start) != (ssize_t)n) abort();
  note('w', node_of(fd), start, 0, NULL, NULL, data, n);
  free(data);
}
SENDFILE(sendfile)
SENDFILE(sendfile64)

/* What a sync covers is what was written before it began; it counts from when it has returned. */
#define SYNC_CALL(name)                                                                      \
  int name(int fd) {                                                                         \
    REAL(int, #name, int);                                                                   \
    enum fate fate = under_fd(fd) ? hit(#name, SYNC) : PASS;                                 \
    if (fate == FAIL) return -1;                                                             \
    if (fate == DIE_FIRST) die();                                                            \
    if (fate == LATE) sleep(stall_seconds);                                                  \
    long serial = fate == RECORD ? atomic_fetch_add(&syncs, 1) : 0;                          \
    if (fate == RECORD) {                                                                    \
      pthread_mutex_lock(&order);                                                            \
      note('b', node_of(fd), serial, getpid(), NULL, NULL, NULL, 0);                         \
      pthread_mutex_unlock(&order);                                                          \
    }                                                                                        \
    int failed = real(fd);                                                                   \
    if (fate == DIE_AFTER) die();                                                            \
    if (fate == RECORD && !failed) {                                                         \
      pthread_mutex_lock(&order);                                                            \
      note('e', node_of(fd), serial, getpid(), NULL, NULL, NULL, 0);                         \
      pthread_mutex_unlock(&order);                                                          \
    }                                                                                        \
    return failed;                                                                           \
  }
SYNC_CALL(fsync)
SYNC_CALL(fdatasync)

#define CHANGE_CALL(name, where, params, args, noted)                                        \
  int name params {                                                                          \
    static int(*real) params;                                                                \
    if (!real) real = (int(*) params)dlsym(RTLD_NEXT, #name);                                \
    enum fate fate = (where) ? hit(#name, CHANGE) : PASS;                                    \
    if (fate == FAIL) return -1;                                                             \
    if (fate == DIE_FIRST) die();                                                            \
    if (fate == RECORD) pthread_mutex_lock(&order);                                          \
    int failed = real args;                                                                  \
    if (fate == DIE_AFTER) die();                                                            \
    int error = errno;                                                                       \
    if (fate == RECORD) {                                                                    \
      if (!failed) noted;                                                                    \
      pthread_mutex_unlock(&order);                                                          \
      errno = error;                                                                         \
    }                                                                                        \
    return failed;                                                                           \
  }
#define NOTE_SIZE note('t', node_of(fd), n, 0, NULL, NULL, NULL, 0)
CHANGE_CALL(ftruncate, under_fd(fd), (int fd, off_t n), (fd, n), NOTE_SIZE)
CHANGE_CALL(ftruncate64, under_fd(fd), (int fd, off_t n), (fd, n), NOTE_SIZE)
CHANGE_CALL(rename, under_at(AT_FDCWD, to), (const char *from, const char *to), (from, to),
            note_names('r', AT_FDCWD, from, AT_FDCWD, to))
CHANGE_CALL(renameat, under_at(d, to), (int c, const char *from, int d, const char *to), (c, from, d, to),
            note_names('r', c, from, d, to))
CHANGE_CALL(link, under_at(AT_FDCWD, to), (const char *from, const char *to), (from, to),
            note_names('l', AT_FDCWD, from, AT_FDCWD, to))
CHANGE_CALL(linkat, under_at(d, to), (int c, const char *from, int d, const char *to, int f), (c, from, d, to, f),
            note_names('l', c, from, d, to))
CHANGE_CALL(unlink, under_at(AT_FDCWD, name), (const char *name), (name), note_name('u', AT_FDCWD, name, 0))
CHANGE_CALL(unlinkat, under_at(d, name), (int d, const char *name, int f), (d, name, f), note_name('u', d, name, 0))
CHANGE_CALL(mkdir, under_at(AT_FDCWD, name), (const char *name, mode_t m), (name, m),
            note_name('m', AT_FDCWD, name, node_at(AT_FDCWD, name)))
CHANGE_CALL(mkdirat, under_at(d, name), (int d, const char *name, mode_t m), (d, name, m),
            note_name('m', d, name, node_at(d, name)))

/* Says what is wrong by its result. */
#define ROOM_CALL(name)                                                                      \
  int name(int fd, off_t at, off_t n) {                                                      \
    REAL(int, #name, int, off_t, off_t);                                                     \
    enum fate fate = under_fd(fd) ? hit(#name, CHANGE) : PASS;                               \
    if (fate == FAIL) return errno;                                                          \
    if (fate == DIE_FIRST) die();                                                            \
    if (fate == RECORD) pthread_mutex_lock(&order);                                          \
    int failed = real(fd, at, n);                                                            \
    if (fate == DIE_AFTER) die();                                                            \
    if (fate == RECORD) {                                                                    \
      if (!failed) note('t', node_of(fd), at + n, 0, NULL, NULL, NULL, 0);                   \
      pthread_mutex_unlock(&order);                                                          \
    }                                                                                        \
    return failed;                                                                           \
  }
ROOM_CALL(posix_fallocate)
ROOM_CALL(posix_fallocate64)

/* Only an open that may make a file changes anything. */
#define OPEN_CALL(name, dir, params, args)                                                   \
  int name params {                                                                          \
    static int(*real)(int, const char *, int, ...);                                          \
    if (!real) real = (int(*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat64");     \
    va_list more;                                                                            \
    va_start(more, flags);                                                                   \
    mode_t m = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                   \
    va_end(more);                                                                            \
    int makes = flags & O_CREAT && under_at(dir, path) && node_at(dir, path) < 0;            \
    enum fate fate = makes ? hit("create", CHANGE) : PASS;                                   \
    if (fate == FAIL) return -1;                                                             \
    if (fate == DIE_FIRST) die();                                                            \
    if (fate == RECORD) pthread_mutex_lock(&order);                                          \
    int fd = real args;                                                                      \
    if (fate == DIE_AFTER) die();                                                            \
    int error = errno;                                                                       \
    if (fate == RECORD) {                                                                    \
      if (fd >= 0) note_name('c', dir, path, node_of(fd));                                   \
      pthread_mutex_unlock(&order);                                                          \
      errno = error;                                                                         \
    }                                                                                        \
    return fd;                                                                               \
  }
OPEN_CALL(open, AT_FDCWD, (const char *path, int flags, ...), (AT_FDCWD, path, flags, m))
OPEN_CALL(open64, AT_FDCWD, (const char *path, int flags, ...), (AT_FDCWD, path, flags, m))
OPEN_CALL(openat, dir, (int dir, const char *path, int flags, ...), (dir, path, flags, m))
OPEN_CALL(openat64, dir, (int dir, const char *path, int flags, ...), (dir, path, flags, m))
