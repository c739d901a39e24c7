// Tasks beside graphs: each runs once, whatever the threads, and what they throw arrives.
#include "backend/cpu_backend.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace kvcapsule {
namespace {

TEST(CpuBackendTest, RunsEveryTaskOnce) {
  for (const int32_t threads : {1, 2, 5}) {
    CpuBackend backend(threads);
    for (const int32_t count : {0, 1, 2, 257}) {
      std::vector<std::atomic<int32_t>> runs(count);
      backend.Run(count, [&](int32_t i) { ++runs[i]; });
      for (int32_t i = 0; i < count; ++i) EXPECT_EQ(runs[i], 1) << threads << " threads, task " << i;
    }
  }
}

TEST(CpuBackendTest, PassesOnWhatATaskThrows) {
  CpuBackend backend(2);
  const auto fail = [](int32_t i) {
    if (i % 7 == 3) throw std::length_error("task");
  };
  EXPECT_THROW(backend.Run(40, fail), std::length_error);
  int32_t ran = 0;
  backend.Run(1, [&](int32_t) { ++ran; });
  EXPECT_EQ(ran, 1);
}

}  // namespace
}  // namespace kvcapsule
