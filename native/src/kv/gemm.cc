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

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(GemmNN);

void GemmNN(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c, int ldc,
            bool accumulate) {
  HWY_DYNAMIC_DISPATCH(GemmNN)(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
}

}  // namespace kvcapsule
#endif
