// What a decoder layer has beside dense_ops.h: rotary embeddings, and the product that ends with them.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "model/dense_ops.h"

namespace kvcapsule {

// Cosines and sines of rotary embeddings for the positions seen so far.
class RopeTable {
 public:
  explicit RopeTable(const TextConfig& config);

  // With all positions of a context.
  static int64_t Bytes(const TextConfig& config) {
    return int64_t{config.context_tokens} * config.head_dim * static_cast<int64_t>(sizeof(float));
  }

  // Makes at() work for these positions. Not to be called while the graph runs.
  void Prepare(std::span<const int32_t> positions);
  // [head_dim / 2] cosines, then as many sines.
  const float* at(int32_t position) const {
    return &blocks_[position / kBlock][static_cast<size_t>(position % kBlock) * dim_];
  }

 private:
  static constexpr int32_t kBlock = 256;  // positions computed at a time
  int32_t dim_;
  std::vector<float> frequency_;            // [head_dim / 2]
  std::vector<std::vector<float>> blocks_;  // [kBlock][head_dim] or empty
};

struct QkvOp : DenseOp {
  using DenseOp::DenseOp;

  const TextConfig* config = nullptr;
  const RopeTable* rope = nullptr;
  std::span<const int32_t> positions;  // [rows]
};

// Rotated queries [rows][heads][head_dim], rotated keys [rows][kv_heads][head_dim] and values, one behind the
// other.
ggml_tensor* ProjectQkv(ggml_context* context, ggml_tensor* x, QkvOp& op);

}  // namespace kvcapsule
