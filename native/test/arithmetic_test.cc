// The name of the arithmetic follows the target that kernels run on.
#include "backend/arithmetic.h"

#include <gtest/gtest.h>

#include <set>

#include "kv/gemm.h"
#include "targets.h"

namespace kvcapsule {
namespace {

using testing::UseTarget;

// A product whose last bits tell whether sums are fused.
std::vector<float> Product() {
  constexpr int kInputs = 257, kOutputs = 16;
  std::vector<float> a(kInputs), b(kInputs * kOutputs), c(kOutputs);
  for (int i = 0; i < kInputs; ++i) a[i] = 1.0f / static_cast<float>(3 + i);
  for (int i = 0; i < kInputs * kOutputs; ++i) b[i] = 1.0f / static_cast<float>(7 + i % 1009);
  GemmNN(1, kOutputs, kInputs, a.data(), kInputs, b.data(), kOutputs, c.data(), kOutputs, false);
  return c;
}

TEST(ArithmeticTest, NamesTheTargetThatKernelsRunOn) {
  std::set<std::string> names;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    const UseTarget use(target);
    EXPECT_STRCASEEQ(InstructionSet().c_str(), hwy::TargetName(target));
    EXPECT_EQ(Arithmetic(), "cpu-" + InstructionSet() + "-" + std::to_string(kKernelRevision));
    names.insert(Arithmetic());
  }
  EXPECT_EQ(names.size(), hwy::SupportedAndGeneratedTargets().size());
}

TEST(ArithmeticTest, TakesTheMachinesBestByItself) {
  const std::vector<int64_t> targets = hwy::SupportedAndGeneratedTargets();
  EXPECT_STRCASEEQ(InstructionSet().c_str(), hwy::TargetName(*std::min_element(targets.begin(), targets.end())));
}

TEST(ArithmeticTest, OtherNamesStandForOtherBits) {
  std::vector<float> fused, apart;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    const UseTarget use(target);
    (InstructionSet() == "sse4" ? apart : fused) = Product();
  }
  if (fused.empty() || apart.empty()) GTEST_SKIP() << "the machine has one kind of target";
  EXPECT_NE(fused, apart);
}

}  // namespace
}  // namespace kvcapsule
