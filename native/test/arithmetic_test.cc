// The name of the arithmetic follows the target that kernels run on.
#include "backend/arithmetic.h"

#include <gtest/gtest.h>

#include <set>

#include "common/isa.h"
#include "emulated_tiles.h"
#include "kv/gemm.h"
#include "kvcapsule/error.h"
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
  const testing::UseTileProduct no_tiles(nullptr);
  std::set<std::string> names;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    const UseTarget use(target);
    EXPECT_STRCASEEQ(InstructionSet().c_str(), hwy::TargetName(target));
    EXPECT_EQ(Arithmetic(), "cpu-" + InstructionSet() + "-" + std::to_string(kKernelRevision));
    names.insert(Arithmetic());
  }
  EXPECT_EQ(names.size(), hwy::SupportedAndGeneratedTargets().size());
}

TEST(ArithmeticTest, ProductsOnTilesAreAClassOfTheirOwn) {
  const testing::UseTileProduct use(testing::kEmulatedProduct);
  EXPECT_EQ(Arithmetic(), "cpu-" + InstructionSet() + "+amx-" + std::to_string(kKernelRevision));
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

// While it lives, nothing beyond a limit is used.
class UseIsa {
 public:
  explicit UseIsa(std::string_view most) { LimitIsa(most); }
  ~UseIsa() { LimitIsa(before_); }

 private:
  const Isa before_ = BestIsa();
};

TEST(ArithmeticTest, KernelsRunOnNothingBeyondTheLimit) {
  std::vector<float> on_sse4;
  {
    const UseTarget use(HWY_SSE4);
    on_sse4 = Product();
  }
  const std::string best = InstructionSet();
  {
    const UseIsa use("sse4");
    EXPECT_EQ(InstructionSet(), "sse4");
    EXPECT_EQ(BestIsa(), Isa::kSse4);
    EXPECT_EQ(Arithmetic(), "cpu-sse4-" + std::to_string(kKernelRevision));
    EXPECT_EQ(Product(), on_sse4);
  }
  EXPECT_EQ(InstructionSet(), best);
}

TEST(ArithmeticTest, WhatIsAskedForBesideTargetsFollowsTheLimit) {
  for (const auto feature : {IsaFeature::kByteMatrices, IsaFeature::kInt8Tiles, IsaFeature::kBf16Tiles}) {
    const bool found = MayUse(feature);
    {
      const UseIsa use("avx2");
      EXPECT_FALSE(MayUse(feature));
    }
    {
      const UseIsa use("avx512");
      EXPECT_EQ(MayUse(feature), found && feature == IsaFeature::kByteMatrices);
    }
    EXPECT_EQ(MayUse(feature), found);
  }
}

TEST(ArithmeticTest, RefusesInstructionSetsThatNobodyKnows) {
  for (const char* most : {"", "avx", "AVX2", "avx3"}) {
    try {
      LimitIsa(most);
      ADD_FAILURE() << most;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kConfigInvalid);
      EXPECT_NE(std::string(error.what()).find("sse4, avx2, avx512 or amx"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace kvcapsule
