#include "fit/outer_product.h"

#include <algorithm>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "fit/outer_product.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::CappedTag<double, 8>;
constexpr int kWidth = static_cast<int>(hn::MaxLanes(Tag()));
constexpr int kRows = 4, kVectors = 2, kColumns = kVectors * kWidth;

// Rows first to first + kRows of the product, kColumns of them from `column` on. columns: [dim][stride], rows turned.
HWY_INLINE void AddTile(const double* columns, int64_t stride, int32_t dim, int64_t first, int64_t column,
                        hn::Vec<Tag> (&sum)[kRows][kVectors]) {
  for (auto& row : sum) {
    for (auto& vector : row) vector = hn::Zero(Tag());
  }
  for (int32_t c = 0; c < dim; ++c) {
    const double* from = columns + c * stride;
    hn::Vec<Tag> right[kVectors];
    for (int v = 0; v < kVectors; ++v) right[v] = hn::LoadU(Tag(), from + column + v * kWidth);
    for (int r = 0; r < kRows; ++r) {
      const auto left = hn::Set(Tag(), from[first + r]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
    }
  }
}

void AddOuterProduct(const float* rows, int32_t n, int32_t dim, double* gram) {
  const int64_t stride = n + kColumns + kRows;
  std::vector<double> columns(stride * dim);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t c = 0; c < dim; ++c) columns[c * stride + i] = rows[i * dim + c];
  }
  for (int64_t first = 0; first < n; first += kRows) {
    const int64_t last = std::min<int64_t>(first + kRows, n) - 1;
    for (int64_t column = 0; column <= last; column += kColumns) {
      hn::Vec<Tag> sum[kRows][kVectors];
      AddTile(columns.data(), stride, dim, first, column, sum);
      for (int64_t i = first; i <= last; ++i) {
        HWY_ALIGN double products[kColumns];
        for (int v = 0; v < kVectors; ++v) hn::Store(sum[i - first][v], Tag(), products + v * kWidth);
        const int64_t count = std::min<int64_t>(kColumns, i - column + 1);
        for (int64_t j = 0; j < count; ++j) gram[i * n + column + j] += products[j];
      }
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(AddOuterProduct);

void AddOuterProduct(const float* rows, int32_t n, int32_t dim, double* gram) {
  HWY_DYNAMIC_DISPATCH(AddOuterProduct)(rows, n, dim, gram);
}

}  // namespace kvcapsule
#endif
