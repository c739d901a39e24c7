// Runs a test on each of the machine's vector targets in turn.
#pragma once
#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cstdint>

namespace kvcapsule::testing {

// While it lives, Highway takes `target` for the machine's best.
class UseTarget {
 public:
  explicit UseTarget(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  ~UseTarget() {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  UseTarget(const UseTarget&) = delete;
  UseTarget& operator=(const UseTarget&) = delete;
};

class TargetTest : public ::testing::TestWithParam<int64_t> {
  UseTarget use_{GetParam()};
};

}  // namespace kvcapsule::testing
