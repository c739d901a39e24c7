// Streaming statistics of a span's keys and values over any number of pictures, and the closed-form fit
// of mask, theta, U and mu from them. method.md, "What is stored" and point 2.
#pragma once
#include <cstdint>
#include <vector>

#include "kv/codec/capsule/profile.h"
#include "kv/pool.h"
#include "kv/sequence_table.h"

namespace kvcapsule {

class GramAccumulator {
 public:
  GramAccumulator(const KvGeometry& geometry, int32_t tokens);
  // Adds the covered rows (exactly `tokens`, ascending) of a raw segment.
  void Add(const KvPool& pool, const RawSegment& segment, const std::vector<int32_t>& covered);
  int64_t pictures() const { return pictures_; }

  struct FitOptions {
    std::vector<float> retention;   // [layers], in (0, 1]; m = ceil(r n)
    float ridge = 1e-4f;            // relative to the mean diagonal
  };
  // Mask by pivoted Cholesky on sum(K K^T), theta by ridge regression, U by eigenvectors of the centred
  // value Gram. Double precision inside.
  CapsuleProfile Fit(const FitOptions& options) const;

 private:
  KvGeometry geometry_;
  int32_t tokens_;
  int64_t pictures_ = 0;
  // [layers * kv_heads] each n x n or n x head_dim, double, row-major
  std::vector<std::vector<double>> key_gram_, value_gram_, value_sum_;
};

}  // namespace kvcapsule
