// Included ahead of ggml's C sources. ggml's barriers spin: where other processes want the CPUs too, a
// waiting thread burns the time slice that the thread it waits for needs, and every one of a graph's
// hundred barriers can cost milliseconds. So every 64th pause (a few microseconds) gives the CPU away.
#pragma once
#if defined(__x86_64__)
#include <immintrin.h>
#include <sched.h>

static inline void kvcapsule_pause_or_yield(void) {
  static __thread unsigned pauses;
  if (++pauses % 64 == 0) {
    sched_yield();
  } else {
    _mm_pause();
  }
}
#define _mm_pause() kvcapsule_pause_or_yield()
#endif
