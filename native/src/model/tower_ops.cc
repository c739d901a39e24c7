#include "model/tower_ops.h"

#include <algorithm>
#include <cmath>

namespace kvcapsule {
namespace {

constexpr int32_t kPanel = PackedMatrix::kPanel;
// Queries taken at a time: their scores over 1,024 patches stay in the second-level cache. Whole chunks on tiles, which
// come with a larger one.
constexpr int32_t kBlockRows = 48, kTileBlockRows = 2 * kTileChunk;

struct HeadViews {
  float *queries, *keys, *values;
};

HeadViews HeadOf(const ggml_tensor* qkv, const TowerShape& s, int64_t tile, int64_t head) {
  float* queries = static_cast<float*>(qkv->data) + (tile * s.heads + head) * s.HeadFloats();
  float* keys = queries + s.QueryFloats();
  return {queries, keys, keys + s.KeyFloats()};
}

PackedMatrix Matrix(int64_t outputs, int64_t inputs, float* data) {
  return {outputs, inputs, WeightType::kF32, reinterpret_cast<uint8_t*>(data)};
}

int64_t MatrixFloats(const TowerShape& s, int64_t outputs, int64_t inputs) {
  const int64_t bytes = s.tile_product ? TileBytes(outputs, inputs, kTileParts)
                                       : PackedMatrix::Bytes(outputs, inputs, WeightType::kF32);
  return bytes / static_cast<int64_t>(sizeof(float));
}

// Floats between rows of scores: as many as there are patches or more, and such that a few rows spread over all sets of
// a first-level cache, which repeat every 4 KiB.
int64_t ScoreStride(int64_t patches) {
  constexpr int64_t kRepeat = 1024, kApart = 176;
  const int64_t whole = (patches + kPanel - 1) / kPanel * kPanel;
  return (std::max(whole, kApart) - kApart + kRepeat - 1) / kRepeat * kRepeat + kApart;
}

// Some rows' outputs of the product with queries, keys and values: `channels` of one head's, all of one tile's patches.
struct Channels {
  const float* y;  // [rows], kPanel floats apart
  int64_t count;
  int64_t first;  // of the head's channels
  int64_t patch;  // of the first row
  int64_t rows;
};

void StoreQueries(const TowerShape& s, const Channels& in, float* queries) {
  for (int64_t r = 0; r < in.rows; ++r)
    std::copy_n(in.y + r * kPanel, in.count, queries + (in.patch + r) * s.head_dim + in.first);
}

void StoreKeys(const TowerShape& s, const Channels& in, float* keys) {
  if (s.tile_product) {
    for (int64_t r = 0; r < in.rows; ++r)
      PlaceInputs(in.y + r * kPanel, in.patch + r, in.first, in.count, s.head_dim, reinterpret_cast<uint8_t*>(keys));
    return;
  }
  for (int64_t c = 0; c < in.count; ++c) {
    for (int64_t r = 0; r < in.rows; ++r)
      keys[PackedMatrix::Place(in.patch + r, in.first + c, s.head_dim)] = in.y[r * kPanel + c];
  }
}

void StoreValues(const TowerShape& s, const Channels& in, float* values) {
  for (int64_t c = 0; c < in.count;) {
    const int64_t channel = in.first + c, run = std::min(in.count - c, kPanel - channel % kPanel);
    for (int64_t r = 0; r < in.rows; ++r) {
      const float* from = in.y + r * kPanel + c;
      if (s.tile_product) {
        PlaceOutputs(from, channel, run, in.patch + r, s.patches, reinterpret_cast<uint8_t*>(values));
      } else {
        std::copy_n(from, run, values + PackedMatrix::Place(channel, in.patch + r, s.patches));
      }
    }
    c += run;
  }
}

// Outputs from `output` on, of one head and one of the three, to their places in each row's tile.
void StoreChannels(const ggml_tensor* qkv, const TowerShape& s, int64_t output, int64_t channels,
                   int64_t first_row, int32_t rows, const float* y) {
  const int64_t part = output / s.hidden(), head = output % s.hidden() / s.head_dim;
  for (int64_t r = 0; r < rows;) {
    const int64_t patch = (first_row + r) % s.patches, run = std::min<int64_t>(rows - r, s.patches - patch);
    const HeadViews to = HeadOf(qkv, s, (first_row + r) / s.patches, head);
    const Channels in{y + r * kPanel, channels, output % s.head_dim, patch, run};
    if (part == 0) StoreQueries(s, in, to.queries);
    if (part == 1) StoreKeys(s, in, to.keys);
    if (part == 2) StoreValues(s, in, to.values);
    r += run;
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

// What a thread needs for its blocks of queries.
struct AttentionScratch {
  InputRows rows;
  AlignedVector<uint8_t> cut;
  std::vector<float> scores, mixed;
};

// to [rows][to_stride]: rows of `inputs` floats, `stride` apart, times a matrix of keys or values.
void MultiplyBy(const TowerShape& s, float* matrix, int64_t outputs, int64_t inputs, const float* x, int64_t stride,
                int32_t rows, AttentionScratch& scratch, float* to, int64_t to_stride) {
  const PackedMatrix packed = Matrix(outputs, inputs, matrix);
  if (s.tile_product) {
    const int64_t bytes = rows * CutRowBytes(inputs);
    if (static_cast<int64_t>(scratch.cut.size()) < bytes) scratch.cut.resize(bytes);
    CutRows(x, stride, rows, inputs, scratch.cut.data());
    return s.tile_product({scratch.cut.data(), rows, reinterpret_cast<uint8_t*>(matrix), packed.panels(), inputs, to,
                           to_stride, /*cut_weights=*/true});
  }
  scratch.rows.Refer(x, stride, rows);
  packed.MultiplyFirst(scratch.rows, static_cast<int32_t>(outputs), to, to_stride);
}

// Softmax over all of a tile's patches for `rows` queries of a head, and their mix of its values, to rows hidden()
// floats apart.
void AttendBlock(const TowerShape& s, const HeadViews& in, int64_t first, int32_t rows, AttentionScratch& scratch,
                 float* to) {
  const int64_t wide = ScoreStride(s.patches), padded = (s.head_dim + kPanel - 1) / kPanel * kPanel;
  float *scores = Room(scratch.scores, rows * wide), *mixed = Room(scratch.mixed, rows * padded);
  MultiplyBy(s, in.keys, s.patches, s.head_dim, in.queries + first * s.head_dim, s.head_dim, rows, scratch, scores, wide);
  const float scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  float sums[kTileBlockRows];
  for (int32_t r = 0; r < rows; ++r) sums[r] = ExpRow(scores + r * wide, scale, s.patches, scores + r * wide);
  MultiplyBy(s, in.values, s.head_dim, s.patches, scores, wide, rows, scratch, mixed, padded);
  for (int32_t r = 0; r < rows; ++r, to += s.hidden(), mixed += padded) {
    for (int64_t c = 0; c < s.head_dim; ++c) to[c] = mixed[c] * sums[r];
  }
}

void RunTowerAttention(ggml_tensor* out, int, int, void* user) {
  auto& op = *static_cast<TowerAttentionOp*>(user);
  const TowerShape& s = op.shape;
  const int64_t most = s.tile_product ? kTileBlockRows : kBlockRows;
  const auto blocks = static_cast<int32_t>((s.patches + most - 1) / most);
  thread_local AttentionScratch scratch;
  const auto tasks = static_cast<int32_t>(s.tiles * s.heads * blocks);
  for (int32_t task = op.next_task++; task < tasks; task = op.next_task++) {
    const int64_t tile = task / blocks / s.heads, head = task / blocks % s.heads, block = task % blocks;
    const int64_t first = s.patches * block / blocks, end = s.patches * (block + 1) / blocks;
    float* to = static_cast<float*>(out->data) + ((tile * s.patches + first) * s.heads + head) * s.head_dim;
    AttendBlock(s, HeadOf(out->src[0], s, tile, head), first, static_cast<int32_t>(end - first), scratch, to);
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

int64_t TowerShape::QueryFloats() const {
  constexpr int64_t kLine = 16;
  return (patches * head_dim + kLine - 1) / kLine * kLine;
}
int64_t TowerShape::KeyFloats() const { return MatrixFloats(*this, patches, head_dim); }
int64_t TowerShape::ValueFloats() const { return MatrixFloats(*this, head_dim, patches); }

int64_t TowerThreadBytes(const TowerShape& shape) {
  const int64_t padded = (shape.head_dim + kPanel - 1) / kPanel * kPanel;
  const int64_t row = (ScoreStride(shape.patches) + padded) * static_cast<int64_t>(sizeof(float));
  if (!shape.tile_product) return kBlockRows * row;
  return kTileBlockRows * (row + CutRowBytes(std::max(shape.patches, shape.head_dim)));
}

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
