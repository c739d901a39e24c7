// What this machine can do at most: the lines that measured kernels are drawn under.
#pragma once
#include <cstdint>

namespace kvcapsule {

struct Roof {
  double read_bytes_per_second = 0;  // a stream of loads over memory, all threads together
  double flops_per_second = 0;       // fused multiply-adds in registers, two operations each
};

// bytes: read over and over, shared out between the threads; more than the caches hold tells about memory.
// Takes some tenths of a second of each thread. Throws Error(kEngineFailed) when there is no memory for it.
Roof MeasureRoof(int32_t threads, int64_t bytes);

}  // namespace kvcapsule
