#include "model/text_ops.h"

#include <cmath>

namespace kvcapsule {
namespace {

void RunQkv(ggml_tensor* out, int, int nth, void* user) {
  auto& op = *static_cast<QkvOp*>(user);
  const TextConfig& c = *op.config;
  const ggml_tensor* x = out->src[0];
  const int64_t dim = c.head_dim, rows = x->ne[1];
  RunDense(op, x, HeadPanels(c), nth, [&](int32_t head, int32_t first_row, int32_t count, const float* y) {
    // which of the three, how many heads it has, and where it begins
    const int32_t part = head < c.heads ? 0 : head < c.heads + c.kv_heads ? 1 : 2;
    const int64_t heads = part == 0 ? c.heads : c.kv_heads;
    const int64_t before = part == 0 ? 0 : c.heads + (part - 1) * c.kv_heads;
    float* to = static_cast<float*>(out->data) + (rows * before + first_row * heads + head - before) * dim;
    for (int32_t r = 0; r < count; ++r, to += heads * dim, y += HeadPanels(c) * PackedMatrix::kPanel) {
      if (part == 2) {
        std::copy_n(y, dim, to);
      } else {
        const float* cosines = op.rope->at(op.positions[first_row + r]);
        RotateRow(y, cosines, cosines + dim / 2, c.head_dim, to);
      }
    }
  });
}

}  // namespace

RopeTable::RopeTable(const TextConfig& config) : dim_(config.head_dim) {
  // in single precision step by step, as transformers computes them
  for (int32_t i = 0; i < dim_; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(dim_);
    frequency_.push_back(1.0f / std::pow(config.rope_theta, exponent));
  }
  blocks_.resize((config.context_tokens + kBlock - 1) / kBlock);
}

void RopeTable::Prepare(std::span<const int32_t> positions) {
  for (const int32_t position : positions) {
    std::vector<float>& block = blocks_[position / kBlock];
    if (!block.empty()) continue;
    block.resize(static_cast<size_t>(kBlock) * dim_);
    const auto half = static_cast<int32_t>(frequency_.size());
    for (int32_t p = 0; p < kBlock; ++p) {
      for (int32_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(position / kBlock * kBlock + p) * frequency_[i];
        block[p * dim_ + i] = std::cos(angle);
        block[p * dim_ + half + i] = std::sin(angle);
      }
    }
  }
}

ggml_tensor* ProjectQkv(ggml_context* context, ggml_tensor* x, QkvOp& op) {
  const TextConfig& c = *op.config;
  return CustomOp(context, int64_t{c.heads + 2 * c.kv_heads} * c.head_dim, x->ne[1], {x}, RunQkv, &op);
}

}  // namespace kvcapsule
