// A decoder layer's operations as ggml custom operations: one pass over each weight matrix, with everything
// that is done row by row (norm, bias, rotation, gate, residual) in the same pass. Six barriers a layer where
// single operations take twenty. Rows are independent of each other, so results do not depend on the batch.
#pragma once
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "ggml.h"
#include "model/weights.h"

namespace kvcapsule {

// Cosines and sines of rotary embeddings for the positions seen so far.
class RopeTable {
 public:
  explicit RopeTable(const TextConfig& config);

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

// One product with a packed matrix, its rows normalised first where norm is given.
struct DenseOp {
  const PackedLinear* linear = nullptr;
  const ggml_tensor* norm = nullptr;  // RMS norm's weight, or null
  float epsilon = 0;
  std::atomic<int32_t> next_task = 0;
};

struct QkvOp : DenseOp {
  const TextConfig* config = nullptr;
  const RopeTable* rope = nullptr;
  std::span<const int32_t> positions;  // [rows]
};

// All operations take x [rows][inputs] in F32. Ops outlive the graph's computation and serve it once.

// Rotated queries [rows][heads][head_dim], rotated keys [rows][kv_heads][head_dim] and values, one behind the
// other.
ggml_tensor* ProjectQkv(ggml_context* context, ggml_tensor* x, QkvOp& op);
// residual + W x, [rows][outputs].
ggml_tensor* ProjectAndAdd(ggml_context* context, ggml_tensor* x, ggml_tensor* residual, DenseOp& op);
// silu(gate x) * up x, [rows][intermediate].
ggml_tensor* ProjectGated(ggml_context* context, ggml_tensor* x, int64_t intermediate, DenseOp& op);
// W x, [rows][outputs].
ggml_tensor* Project(ggml_context* context, ggml_tensor* x, int64_t outputs, DenseOp& op);

}  // namespace kvcapsule
