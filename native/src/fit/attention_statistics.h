// How much the error of each row of a span matters to what is asked about it. Gathered in calibration, by
// plain loops, from the queries of the rows after the span.
#pragma once
#include <cstdint>
#include <vector>

#include "attention/paged_attention.h"
#include "kv/segments.h"

namespace kvcapsule {

class AttentionStatistics {
 public:
  AttentionStatistics(const KvGeometry& geometry, int32_t tokens);

  // Adds a chunk's rows to the statistics of one layer. Segment `span` holds `tokens` raw rows and lies
  // before the chunk's; all segments up to there are raw. queries: [step rows][heads][head_dim], post-RoPE;
  // the keys and values of the chunk are in the pool.
  void Add(const KvPool& pool, const Sequence& sequence, int32_t span, const AttentionChunk& chunk,
           const AttentionShape& shape, int32_t layer, const float* queries);

  // w [tokens] of part [layer][kv head][keys, values], mean square 1; all 1 before the first row.
  // With p the attention of a row to the span, o the part of its output that comes from there: values count
  // by sum p_i^2, keys by sum p_i^2 |v_i - o|^2 |q|^2; w_i^2 is the square root of the count over its mean,
  // so that few questions do not decide too much.
  std::vector<float> Weights(int32_t part) const { return WeightsOf(counts_[part]); }
  // Of rows that counted so much.
  static std::vector<float> WeightsOf(const std::vector<double>& counts);
  const std::vector<double>& counts(int32_t part) const { return counts_[part]; }  // [tokens]

  // All sums, for a file.
  template <class Visit>
  void VisitNumbers(Visit visit) const {
    for (const auto& numbers : counts_) visit(numbers);
  }
  template <class Visit>
  void VisitNumbers(Visit visit) {
    for (auto& numbers : counts_) visit(numbers);
  }

 private:
  KvGeometry geometry_;
  int32_t tokens_;
  std::vector<std::vector<double>> counts_;  // [layer][kv head][keys, values] each [tokens]
};

}  // namespace kvcapsule
