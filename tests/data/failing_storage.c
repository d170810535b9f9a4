/* A storage that fails, to be loaded before the C library: files whose path holds a text cannot be opened or read.

   The environment tells which, and may change while the process runs:
   FAIL_OPEN, FAIL_READ: EIO; SLOW_OPEN: 20 ms more.  */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_meant(const char *path, const char *variable) {
  const char *text = getenv(variable);
  return text != NULL && *text != '\0' && path != NULL && strstr(path, text) != NULL;
}

static int opening_fails(const char *path) {
  if (is_meant(path, "SLOW_OPEN")) usleep(20000);
  if (!is_meant(path, "FAIL_OPEN")) return 0;
  errno = EIO;
  return 1;
}

static int reading_fails(int file) {
  char link[64], path[4096];
  const char *text = getenv("FAIL_READ");
  if (text == NULL || *text == '\0') return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = '\0';
  if (!is_meant(path, "FAIL_READ")) return 0;
  errno = EIO;
  return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                    \
  int name(const char *path, int flags, ...) {        \
    va_list more;                                     \
    va_start(more, flags);                            \
    mode_t mode = va_arg(more, mode_t);               \
    va_end(more);                                     \
    return opening_fails(path) ? -1 : NEXT(name)(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

FILE *fopen(const char *path, const char *mode) { return opening_fails(path) ? NULL : NEXT(fopen)(path, mode); }
FILE *fopen64(const char *path, const char *mode) { return opening_fails(path) ? NULL : NEXT(fopen64)(path, mode); }
DIR *opendir(const char *path) { return opening_fails(path) ? NULL : NEXT(opendir)(path); }

ssize_t read(int file, void *to, size_t count) { return reading_fails(file) ? -1 : NEXT(read)(file, to, count); }

ssize_t pread(int file, void *to, size_t count, off_t place) {
  return reading_fails(file) ? -1 : NEXT(pread)(file, to, count, place);
}
ssize_t pread64(int file, void *to, size_t count, off64_t place) {
  return reading_fails(file) ? -1 : NEXT(pread64)(file, to, count, place);
}
