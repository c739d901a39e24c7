// Preloaded into a process it shifts the wall clock, and that alone, by the milliseconds that the file named by
// SHIFTED_CLOCK holds (8 bytes, two's complement, the machine's order) while they change. System calls and no others,
// since allocators ask for the time before libraries are ready.
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t* shift_ms;

__attribute__((constructor)) static void Open(void) {
  const char* path = getenv("SHIFTED_CLOCK");
  const int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  void* mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped != MAP_FAILED) shift_ms = mapped;
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  const long result = syscall(SYS_clock_gettime, clock, now);
  if (result != 0 || shift_ms == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return (int)result;
  const int64_t shift = *shift_ms;
  int64_t nanoseconds = now->tv_nsec + shift % 1000 * 1000000;
  int64_t seconds = now->tv_sec + shift / 1000;
  if (nanoseconds < 0) nanoseconds += 1000000000, seconds -= 1;
  if (nanoseconds >= 1000000000) nanoseconds -= 1000000000, seconds += 1;
  now->tv_nsec = nanoseconds;
  now->tv_sec = seconds;
  return 0;
}

int gettimeofday(struct timeval* now, void* zone) {
  (void)zone;
  struct timespec precise;
  if (clock_gettime(CLOCK_REALTIME, &precise) != 0) return -1;
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* where) {
  struct timespec precise;
  clock_gettime(CLOCK_REALTIME, &precise);
  if (where != NULL) *where = precise.tv_sec;
  return precise.tv_sec;
}
