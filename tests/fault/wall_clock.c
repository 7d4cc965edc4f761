/* Loaded into a process before its libraries, so that its wall clock can be set while it runs, and nobody else's.

   cc -shared -fPIC -O2 -o wall_clock.so wall_clock.c -ldl
   LD_PRELOAD=wall_clock.so WALL_CLOCK=FILE program

   FILE begins with the seconds by which the clock is wrong, an int64; who writes them there sets the clock. As of a
   clock that is set, CLOCK_MONOTONIC knows nothing of it, waits until a moment of the wall clock end when it shows
   that moment, and waits of so many seconds last as long as ever. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Waits look at the clock again after so long: the kernel knows nothing of what is in the file. */
#define SLICE_NANOSECONDS 20000000

/* Moments after 1970 by which those of the wall clock are told from those of CLOCK_MONOTONIC, where nothing else does:
   a machine does not run for thirty years. */
#define WALL_SECONDS 1000000000

static const volatile int64_t none, *ahead = &none;

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_cond_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*real_sem_timedwait)(sem_t *, const struct timespec *);
static long (*real_syscall)(long, ...);

__attribute__((constructor)) static void begin(void) {
  real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  real_sem_timedwait = dlsym(RTLD_NEXT, "sem_timedwait");
  real_syscall = dlsym(RTLD_NEXT, "syscall");
  /* The C library has two, of which the older one is found without a version. */
  real_cond_timedwait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
  if (!real_cond_timedwait) real_cond_timedwait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
  const char *path = getenv("WALL_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped != MAP_FAILED) ahead = mapped;
}

static int is_wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t clock, struct timespec *now) {
  if (!real_clock_gettime) begin();
  int failed = real_clock_gettime(clock, now);
  if (!failed && is_wall(clock)) now->tv_sec += *ahead;
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  now->tv_sec = found.tv_sec;
  now->tv_usec = found.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *where) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (where) *where = now.tv_sec;
  return now.tv_sec;
}

static int is_before(const struct timespec *one, const struct timespec *other) {
  return one->tv_sec != other->tv_sec ? one->tv_sec < other->tv_sec : one->tv_nsec < other->tv_nsec;
}

/* The end of the next slice of a wait until a moment of the clock, by the kernel's own clock. */
static struct timespec slice_end(const struct timespec *end) {
  struct timespec found, mine = {end->tv_sec - *ahead, end->tv_nsec};
  real_clock_gettime(CLOCK_REALTIME, &found);
  found.tv_nsec += SLICE_NANOSECONDS;
  if (found.tv_nsec >= 1000000000) found.tv_sec++, found.tv_nsec -= 1000000000;
  return is_before(&mine, &found) ? mine : found;
}

static int has_passed(const struct timespec *end) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return !is_before(&now, end);
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *end) {
  if (!real_cond_timedwait) begin();
  if (end->tv_sec < WALL_SECONDS) return real_cond_timedwait(condition, mutex, end);
  struct timespec slice = slice_end(end);
  int result = real_cond_timedwait(condition, mutex, &slice);
  /* Who waits for a condition may be woken for nothing. */
  return result == ETIMEDOUT && !has_passed(end) ? 0 : result;
}

int sem_timedwait(sem_t *semaphore, const struct timespec *end) {
  if (!real_sem_timedwait) begin();
  int failed;
  do {
    struct timespec slice = slice_end(end);
    failed = real_sem_timedwait(semaphore, &slice);
  } while (failed && errno == ETIMEDOUT && !has_passed(end));
  return failed;
}

/* Libraries with waits of their own ask the kernel through this. */
long syscall(long number, ...) {
  if (!real_syscall) begin();
  long given[6];
  va_list arguments;
  va_start(arguments, number);
  for (int place = 0; place < 6; place++) given[place] = va_arg(arguments, long);
  va_end(arguments);
  const struct timespec *end = (const struct timespec *)given[3];
  long operation = given[1] & ~FUTEX_PRIVATE_FLAG;
  if (number != SYS_futex || operation != (FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME) || !end)
    return real_syscall(number, given[0], given[1], given[2], given[3], given[4], given[5]);
  struct timespec slice = slice_end(end);
  long result = real_syscall(number, given[0], given[1], given[2], (long)&slice, given[4], given[5]);
  /* A wait may be interrupted at any time. */
  if (result == -1 && errno == ETIMEDOUT && !has_passed(end)) errno = EINTR;
  return result;
}
