#include "kv/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kv/gemm.cc"
#include <hwy/foreach_target.h>

#include "kv/gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

void GemmNN(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c, int ldc,
            bool accumulate) {
  if (accumulate) {
    Product<true>(m, n, k, a, lda, DenseRows{b, ldb}, c, ldc);
  } else {
    Product<false>(m, n, k, a, lda, DenseRows{b, ldb}, c, ldc);
  }
}

double ExpWeights(std::span<const float> logits, float peak, float scale, float* weights) {
  const auto exp = [&](FloatV x) { return Exp(hn::Mul(hn::Sub(x, Splat(peak)), Splat(scale))); };
  const auto count = static_cast<int64_t>(logits.size());
  double sum = 0;
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    const FloatV weight = exp(Load(logits.data() + i));
    if (weights) Store(weight, weights + i);
    sum += hn::GetLane(hn::SumOfLanes(FloatTag(), weight));
  }
  HWY_ALIGN float rest[kWidth];
  for (int64_t lane = 0; lane < count - i; ++lane) rest[lane] = logits[i + lane];
  for (int64_t lane = count - i; lane < kWidth; ++lane) rest[lane] = peak;
  Store(exp(Load(rest)), rest);
  for (int64_t lane = 0; lane < count - i; ++lane) {
    if (weights) weights[i + lane] = rest[lane];
    sum += rest[lane];
  }
  return sum;
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(GemmNN);
HWY_EXPORT(ExpWeights);

void GemmNN(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c, int ldc,
            bool accumulate) {
  HWY_DYNAMIC_DISPATCH(GemmNN)(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
}

double ExpWeights(std::span<const float> logits, float peak, float scale, float* weights) {
  return HWY_DYNAMIC_DISPATCH(ExpWeights)(logits, peak, scale, weights);
}

}  // namespace kvcapsule
#endif
