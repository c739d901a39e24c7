#include "model/tower_ops.h"

#include <cmath>

#include "kv/gemm.h"
#include "kv/simd.h"

namespace kvcapsule {
namespace {

// Queries taken at a time: their scores over 1,024 patches stay in the second-level cache.
constexpr int32_t kBlockRows = 64;

struct HeadViews {
  float *queries, *keys, *values;
};

HeadViews HeadOf(const ggml_tensor* qkv, const TowerShape& s, int64_t tile, int64_t head) {
  float* queries = static_cast<float*>(qkv->data) + (tile * s.heads + head) * s.HeadFloats();
  float* keys = queries + s.patches * s.head_dim;
  return {queries, keys, keys + s.head_dim * s.key_stride()};
}

// Channels from `channel` on of rows y, 32 floats apart, to their places in one head of each row's tile.
void StoreChannels(const ggml_tensor* qkv, const TowerShape& s, int64_t output, int64_t channels,
                   int64_t first_row, int32_t rows, const float* y) {
  const int64_t part = output / s.hidden(), head = output % s.hidden() / s.head_dim;
  const int64_t channel = output % s.head_dim;
  for (int32_t r = 0; r < rows; ++r, y += PackedMatrix::kPanel) {
    const int64_t patch = (first_row + r) % s.patches;
    const HeadViews to = HeadOf(qkv, s, (first_row + r) / s.patches, head);
    if (part == 0) {
      std::copy_n(y, channels, to.queries + patch * s.head_dim + channel);
    } else if (part == 1) {
      for (int64_t c = 0; c < channels; ++c) to.keys[(channel + c) * s.key_stride() + patch] = y[c];
    } else {
      std::copy_n(y, channels, to.values + patch * s.value_stride() + channel);
    }
  }
}

void RunTowerQkv(ggml_tensor* out, int, int nth, void* user) {
  auto& op = *static_cast<TowerQkvOp*>(user);
  const TowerShape& s = op.shape;
  RunDense(op, out->src[0], 1, nth, [&](int32_t panel, int32_t first_row, int32_t rows, const float* y) {
    const int64_t first = int64_t{panel} * PackedMatrix::kPanel;
    const int64_t end = std::min(first + PackedMatrix::kPanel, 3 * s.hidden());
    for (int64_t output = first; output < end;) {
      const int64_t channels = std::min(s.head_dim - output % s.head_dim, end - output);
      StoreChannels(out, s, output, channels, first_row, rows, y + output - first);
      output += channels;
    }
  });
}

void RunTowerAttention(ggml_tensor* out, int, int, void* user) {
  auto& op = *static_cast<TowerAttentionOp*>(user);
  const TowerShape& s = op.shape;
  const auto patches = static_cast<int32_t>(s.patches), dim = static_cast<int32_t>(s.head_dim);
  const auto wide = static_cast<int32_t>(s.key_stride()), padded = static_cast<int32_t>(s.value_stride());
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const int32_t blocks = (patches + kBlockRows - 1) / kBlockRows;
  thread_local std::vector<float> scratch;
  float* scores = Room(scratch, int64_t{kBlockRows} * (wide + padded));
  float* mixed = scores + int64_t{kBlockRows} * wide;
  const auto tasks = static_cast<int32_t>(s.tiles * s.heads * blocks);
  for (int32_t task = op.next_task++; task < tasks; task = op.next_task++) {
    const int64_t tile = task / blocks / s.heads, head = task / blocks % s.heads;
    const int32_t first = task % blocks * kBlockRows, rows = std::min(kBlockRows, patches - first);
    const HeadViews in = HeadOf(out->src[0], s, tile, head);
    GemmNN(rows, RoundToLanes(patches), dim, in.queries + int64_t{first} * dim, dim, in.keys, wide, scores, wide,
           false);
    float sums[kBlockRows];
    for (int32_t r = 0; r < rows; ++r)
      sums[r] = ExpRow(scores + int64_t{r} * wide, scale, patches, scores + int64_t{r} * wide);
    GemmNN(rows, padded, patches, scores, wide, in.values, padded, mixed, padded, false);
    float* to = static_cast<float*>(out->data) + ((tile * patches + first) * s.heads + head) * dim;
    for (int32_t r = 0; r < rows; ++r, to += s.hidden()) {
      for (int32_t c = 0; c < dim; ++c) to[c] = mixed[int64_t{r} * padded + c] * sums[r];
    }
  }
}

void RunNormAndShuffle(ggml_tensor* out, int ith, int nth, void* user) {
  const auto& op = *static_cast<const PatchShuffleOp*>(user);
  const int64_t hidden = out->ne[0];
  for (int64_t row = ith; row < out->ne[1]; row += nth) {
    const int64_t from = row - row % op.patches + op.order[row % op.patches];
    NormRow(op.norm, op.epsilon, Floats(out->src[0]) + from * hidden, hidden,
            static_cast<float*>(out->data) + row * hidden);
  }
}

}  // namespace

// A power of two apart, rows of the transposed keys would share a few lines of the first-level cache.
int64_t TowerShape::key_stride() const { return RoundToLanes(static_cast<int>(patches)) + kLanes; }
int64_t TowerShape::value_stride() const { return RoundToLanes(static_cast<int>(head_dim)); }

ggml_tensor* ProjectTowerQkv(ggml_context* context, ggml_tensor* x, TowerQkvOp& op) {
  const TowerShape& s = op.shape;
  return CustomOp(context, s.HeadFloats(), s.tiles * s.heads, {x}, RunTowerQkv, &op);
}

ggml_tensor* AttendTower(ggml_context* context, ggml_tensor* qkv, TowerAttentionOp& op) {
  return CustomOp(context, op.shape.hidden(), op.shape.tiles * op.shape.patches, {qkv}, RunTowerAttention, &op);
}

ggml_tensor* NormAndShuffle(ggml_context* context, ggml_tensor* x, PatchShuffleOp& op) {
  return CustomOp(context, x->ne[0], x->ne[1], {x}, RunNormAndShuffle, &op);
}

}  // namespace kvcapsule
