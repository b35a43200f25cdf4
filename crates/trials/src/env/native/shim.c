// Preloaded into nodes and clients: clocks that are wrong and syncs that are slow, fail or lie, as a page shared with the harness says.
//
// Monotonic time is mapped piecewise: fake = fake_base + (real - real_base) * rate. Wall time has an offset. Every wait with a
// time in it is mapped back, so that timers fire by the fake clock. A wait that has begun keeps its end when the page changes.
//
// 1. With rate 1, no offset and sync mode 0 every call does what it does without the shim.
// 2. The fake monotonic clock never goes backwards: the harness only writes maps that continue the one before.
// 3. errno and results are those of the call replaced.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

// The harness writes the first part (its copy is trials/env/shim.rs), the shim the second.
struct page {
  volatile uint64_t sequence; // odd while the map is being written
  volatile int64_t real_base, fake_base;
  volatile double rate;
  volatile int64_t wall_offset;
  volatile int64_t sync_mode; // 0 as usual, 1 slow, 2 fail, 3 lie
  volatile int64_t sync_delay;
  volatile int64_t unused;
  int64_t attached; // the last process that mapped the page
  int64_t monotonic_reads, wall_reads; // while a clock was wrong
  int64_t last_real, last_fake;
  int64_t syncs, syncs_changed;
};

static struct page own = {.rate = 1.0}, *page = &own;

static int64_t of(const struct timespec *t) { return t->tv_sec * SECOND + t->tv_nsec; }

static void put(int64_t nanos, struct timespec *t) {
  if (nanos < 0) nanos = 0;
  t->tv_sec = nanos / SECOND;
  t->tv_nsec = nanos % SECOND;
}

__attribute__((constructor)) static void attach(void) {
  const char *path = getenv("TRIALS_PAGE");
  if (!path) return;
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void *map = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (map == MAP_FAILED) return;
  page = map;
  __atomic_store_n(&page->attached, getpid(), __ATOMIC_SEQ_CST);
}

struct map {
  int64_t real_base, fake_base;
  double rate;
};

static struct map current(void) {
  struct map map;
  uint64_t before;
  do {
    before = __atomic_load_n(&page->sequence, __ATOMIC_ACQUIRE);
    map = (struct map){page->real_base, page->fake_base, page->rate};
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
  } while ((before & 1) || before != page->sequence);
  return map;
}

static int is_true(const struct map *map) { return map->rate == 1.0 && map->real_base == map->fake_base; }

static int64_t to_fake(int64_t real) {
  struct map map = current();
  if (is_true(&map)) return real;
  int64_t fake = map.fake_base + (int64_t)((double)(real - map.real_base) * map.rate);
  __atomic_fetch_add(&page->monotonic_reads, 1, __ATOMIC_RELAXED);
  __atomic_store_n(&page->last_real, real, __ATOMIC_RELAXED);
  __atomic_store_n(&page->last_fake, fake, __ATOMIC_RELAXED);
  return fake;
}

static int64_t to_real(int64_t fake) {
  struct map map = current();
  if (is_true(&map)) return fake;
  return map.real_base + (int64_t)((double)(fake - map.fake_base) / map.rate);
}

// A length of time by the fake clock, in real time.
static int64_t length(int64_t nanos) {
  double rate = current().rate;
  return rate == 1.0 ? nanos : (int64_t)((double)nanos / rate);
}

static int millis(int timeout) {
  if (timeout <= 0) return timeout;
  int64_t real = (length(timeout * 1000000LL) + 999999) / 1000000;
  return real > 0x7fffffff ? 0x7fffffff : (int)real;
}

static int64_t to_fake_wall(int64_t real) {
  int64_t offset = page->wall_offset;
  if (offset) __atomic_fetch_add(&page->wall_reads, 1, __ATOMIC_RELAXED);
  return real + offset;
}

static int64_t to_real_wall(int64_t fake) { return fake - page->wall_offset; }

static int monotonic(clockid_t clock) {
  return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_BOOTTIME;
}

static int wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

// An absolute time without its clock: what lies before the year 2001 is no wall time.
static int64_t absolute_to_real(int64_t fake) {
  return fake < 1000000000LL * SECOND ? to_real(fake) : to_real_wall(fake);
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int clock_gettime(clockid_t clock, struct timespec *t) {
  REAL(clock_gettime);
  int result = real(clock, t);
  if (result) return result;
  if (monotonic(clock)) put(to_fake(of(t)), t);
  else if (wall(clock)) put(to_fake_wall(of(t)), t);
  return 0;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
  REAL(gettimeofday);
  int result = real(t, zone);
  if (result) return result;
  int64_t fake = to_fake_wall(t->tv_sec * SECOND + t->tv_usec * 1000LL);
  t->tv_sec = fake / SECOND;
  t->tv_usec = fake % SECOND / 1000;
  return 0;
}

time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request, struct timespec *rest) {
  REAL(clock_nanosleep);
  struct timespec t = *request;
  if (!(flags & TIMER_ABSTIME)) put(length(of(request)), &t);
  else if (monotonic(clock)) put(to_real(of(request)), &t);
  else if (wall(clock)) put(to_real_wall(of(request)), &t);
  int result = real(clock, flags, &t, rest);
  if (result == EINTR && rest && !(flags & TIMER_ABSTIME)) put((int64_t)((double)of(rest) * current().rate), rest);
  return result;
}

int nanosleep(const struct timespec *request, struct timespec *rest) {
  int result = clock_nanosleep(CLOCK_MONOTONIC, 0, request, rest);
  if (!result) return 0;
  errno = result;
  return -1;
}

int usleep(useconds_t micros) {
  struct timespec t;
  put(micros * 1000LL, &t);
  return nanosleep(&t, 0);
}

// Rust's standard library and parking_lot wait through this.
long syscall(long number, ...) {
  REAL(syscall);
  va_list list;
  va_start(list, number);
  long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long), d = va_arg(list, long), e = va_arg(list, long),
       f = va_arg(list, long);
  va_end(list);
  if (number == SYS_futex && d) {
    struct timespec t;
    int operation = b & FUTEX_CMD_MASK;
    if (operation == FUTEX_WAIT_BITSET) {
      int64_t end = of((struct timespec *)d);
      put(b & FUTEX_CLOCK_REALTIME ? to_real_wall(end) : to_real(end), &t);
      return real(number, a, b, c, &t, e, f);
    }
    if (operation == FUTEX_WAIT) {
      put(length(of((struct timespec *)d)), &t);
      return real(number, a, b, c, &t, e, f);
    }
  }
  return real(number, a, b, c, d, e, f);
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
  REAL(epoll_wait);
  return real(epoll, events, most, millis(timeout));
}

int epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout, const sigset_t *mask) {
  REAL(epoll_pwait);
  return real(epoll, events, most, millis(timeout), mask);
}

int poll(struct pollfd *fds, nfds_t count, int timeout) {
  REAL(poll);
  return real(fds, count, millis(timeout));
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask) {
  REAL(ppoll);
  struct timespec t;
  if (timeout) put(length(of(timeout)), &t);
  return real(fds, count, timeout ? &t : 0, mask);
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *end) {
  REAL(pthread_cond_clockwait);
  struct timespec t;
  put(monotonic(clock) ? to_real(of(end)) : to_real_wall(of(end)), &t);
  return real(condition, mutex, clock, &t);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, const struct timespec *restrict end) {
  static __typeof__(&pthread_cond_timedwait) real;
  // x86-64 has two; the one without a version may be the older, of another layout.
  if (!real) real = (__typeof__(real))dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
  if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "pthread_cond_timedwait");
  struct timespec t;
  put(absolute_to_real(of(end)), &t);
  return real(condition, mutex, &t);
}

// What a sync does: 1 goes on, 0 says it is done, -1 fails.
static int sync_verdict(void) {
  __atomic_fetch_add(&page->syncs, 1, __ATOMIC_RELAXED);
  int64_t mode = page->sync_mode;
  if (!mode) return 1;
  __atomic_fetch_add(&page->syncs_changed, 1, __ATOMIC_RELAXED);
  if (mode == 1) {
    struct timespec t;
    put(page->sync_delay, &t);
    // The kernel's own: a slow disk is slow by the true clock.
    REAL(clock_nanosleep);
    while (real(CLOCK_MONOTONIC, 0, &t, &t) == EINTR) {}
    return 1;
  }
  if (mode == 3) return 0;
  errno = EIO;
  return -1;
}

int fsync(int fd) {
  REAL(fsync);
  int verdict = sync_verdict();
  return verdict > 0 ? real(fd) : verdict;
}

int fdatasync(int fd) {
  REAL(fdatasync);
  int verdict = sync_verdict();
  return verdict > 0 ? real(fd) : verdict;
}
