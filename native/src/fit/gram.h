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
  // Keys are turned back to position 0 by rotary positions of base rope_theta; 0: they are not rotated.
  GramAccumulator(const KvGeometry& geometry, int32_t tokens, float rope_theta = 0);
  // Adds the covered rows (exactly `tokens`, ascending) of a raw segment whose first row has this position.
  void Add(const KvPool& pool, const RawSegment& segment, const std::vector<int32_t>& covered,
           int32_t position = 0);
  int64_t pictures() const { return pictures_; }
  const KvGeometry& geometry() const { return geometry_; }
  int32_t tokens() const { return tokens_; }

  // Of part [layer][kv head][keys, values]: sum over pictures of X X^T, lower triangle of [n][n], and of X,
  // [n][head_dim].
  const double* gram(int32_t part) const { return grams_[part].data(); }
  const double* sum(int32_t part) const { return sums_[part].data(); }
  // All sums, for a file; pictures are counted apart.
  template <class Visit>
  void VisitNumbers(Visit visit) const {
    for (const auto* lists : {&grams_, &sums_}) {
      for (const auto& numbers : *lists) visit(numbers);
    }
  }
  template <class Visit>
  void VisitNumbers(Visit visit) {
    for (auto* lists : {&grams_, &sums_}) {
      for (auto& numbers : *lists) visit(numbers);
    }
  }
  void set_pictures(int64_t pictures) { pictures_ = pictures; }
  // Of a part's numbers about their mean over the pictures; 0 before the first picture.
  double Deviation(int32_t part) const;

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
  float rope_theta_;
  // [layer][kv head][keys, values] each n x n or n x head_dim, double, row-major
  std::vector<std::vector<double>> grams_, sums_;
};

}  // namespace kvcapsule
