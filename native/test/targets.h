// Runs a test on each of the machine's vector targets in turn.
#pragma once
#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cstdint>

namespace kvcapsule::testing {

// While it lives, Highway takes `target` for the machine's best.
class UseTarget {
 public:
  explicit UseTarget(int64_t target) { Use(target); }
  ~UseTarget() { Use(before_); }
  UseTarget(const UseTarget&) = delete;
  UseTarget& operator=(const UseTarget&) = delete;

 private:
  static void Use(int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(targets);
  }
  const int64_t before_ = hwy::SupportedTargets();
};

class TargetTest : public ::testing::TestWithParam<int64_t> {
  UseTarget use_{GetParam()};
};

}  // namespace kvcapsule::testing
