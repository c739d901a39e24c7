#include "model/vision_tower.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/activations.h"
#include "model/layers.h"

namespace kvcapsule {

std::vector<int32_t> BucketedPositions(int32_t patches_per_side, int32_t positions_per_side) {
  std::vector<float> boundaries;
  const double step = 1.0 / positions_per_side;
  for (int32_t i = 0; step + i * step < 1.0; ++i) boundaries.push_back(static_cast<float>(step + i * step));
  std::vector<int32_t> bucket(patches_per_side);
  const float patch = 1.0f / static_cast<float>(patches_per_side);
  for (int32_t i = 0; i < patches_per_side; ++i) {
    const float place = std::min(static_cast<float>(i) * patch, 1.0f - 1e-6f);
    const auto above = std::upper_bound(boundaries.begin(), boundaries.end(), place);
    bucket[i] = std::min(positions_per_side - 1, static_cast<int32_t>(above - boundaries.begin()));
  }
  std::vector<int32_t> ids;
  for (int32_t row = 0; row < patches_per_side; ++row) {
    for (int32_t col = 0; col < patches_per_side; ++col)
      ids.push_back(bucket[row] * positions_per_side + bucket[col]);
  }
  return ids;
}

std::vector<int32_t> PixelShuffleRows(int32_t patches_per_side, int32_t scale) {
  const int32_t side = patches_per_side / scale;
  std::vector<int32_t> rows;
  for (int32_t token = 0; token < side * side; ++token) {
    const int32_t top = token / side * scale, left = token % side * scale;
    for (int32_t y = 0; y < scale; ++y) {
      for (int32_t x = 0; x < scale; ++x) rows.push_back((top + y) * patches_per_side + left + x);
    }
  }
  return rows;
}

VisionTower::VisionTower(const ModelConfig& config, const Weights& weights)
    : config_(config), weights_(weights), patches_(config.patches_per_side() * config.patches_per_side()) {
  const VisionConfig& vision = config.vision;
  position_ids_ = BucketedPositions(config.patches_per_side(), vision.image_size / vision.patch_size);
}

int32_t VisionTower::MaxTiles() const {
  constexpr int64_t kScoreFloats = 32 << 20;
  const int64_t per_tile = int64_t{patches_} * patches_ * config_.vision.heads;
  return static_cast<int32_t>(std::max<int64_t>(1, kScoreFloats / per_tile));
}

int64_t VisionTower::LayerMacs() const {
  const int64_t hidden = config_.vision.hidden;
  return patches_ * hidden * (4 * hidden + 2 * config_.vision.intermediate + 2 * patches_);
}

bool VisionTower::Advance(TowerBatch& batch, int32_t layers, CpuBackend& backend) const {
  const auto count = static_cast<int32_t>(batch.tiles.size());
  const int32_t rows = patches_ * count, total = config_.vision.layers;
  const int32_t last = std::min(total, batch.layers + std::max(1, layers));
  const bool begins = batch.layers == 0, ends = last == total;
  Graph graph(64 + 40 * static_cast<size_t>(last - batch.layers));
  ggml_context* context = graph.context.get();
  const auto input = [&](ggml_tensor* tensor) {
    ggml_set_input(tensor);
    return tensor;
  };
  const int64_t width = begins ? weights_.patch_embedding.weight->ne[0] : int64_t{config_.vision.hidden};
  ggml_tensor* in = input(ggml_new_tensor_2d(context, GGML_TYPE_F32, width, rows));
  ggml_tensor* positions = begins ? input(ggml_new_tensor_1d(context, GGML_TYPE_I32, rows)) : nullptr;
  ggml_tensor* shuffle = ends ? input(ggml_new_tensor_1d(context, GGML_TYPE_I32, rows)) : nullptr;
  ggml_tensor* x = begins ? Embed(context, in, positions) : in;
  for (int32_t layer = batch.layers; layer < last; ++layer)
    x = Layer(context, weights_.vision[layer], x, count);
  if (ends) x = Finish(context, x, shuffle);
  ggml_set_output(x);
  ggml_build_forward_expand(graph.nodes, x);

  backend.Compute(graph, {count * LayerMacs() * (last - batch.layers), 0}, [&] {
    const std::vector<int32_t> order = PixelShuffleRows(config_.patches_per_side(), config_.scale_factor);
    for (int32_t row = 0; row < rows; ++row) {
      const int32_t patch = row % patches_;
      if (positions) static_cast<int32_t*>(positions->data)[row] = position_ids_[patch];
      if (shuffle) static_cast<int32_t*>(shuffle->data)[row] = row - patch + order[patch];
    }
    if (begins) FillPixels(batch, static_cast<float*>(in->data));
    else std::memcpy(in->data, batch.state.data(), ggml_nbytes(in));
  });
  batch.state.resize(ggml_nelements(x));
  ggml_backend_tensor_get(x, batch.state.data(), 0, ggml_nbytes(x));
  batch.layers = last;
  return ends;
}

void VisionTower::FillPixels(const TowerBatch& batch, float* pixels) const {
  const int64_t tile_floats = weights_.patch_embedding.weight->ne[0] * patches_;
  for (const RgbImage* tile : batch.tiles) {
    WritePatches(*tile, config_.image, config_.vision.patch_size, pixels);
    pixels += tile_floats;
  }
}

ggml_tensor* VisionTower::Embed(ggml_context* context, ggml_tensor* pixels, ggml_tensor* positions) const {
  return ggml_add(context, Apply(context, weights_.patch_embedding, pixels),
                  ggml_get_rows(context, weights_.position_embedding, positions));
}

ggml_tensor* VisionTower::Finish(ggml_context* context, ggml_tensor* x, ggml_tensor* shuffle) const {
  const int64_t together = int64_t{config_.scale_factor} * config_.scale_factor;
  x = Apply(context, weights_.vision_norm, config_.vision.layer_norm_eps, x);
  x = ggml_get_rows(context, x, shuffle);
  x = ggml_reshape_2d(context, x, config_.vision.hidden * together, shuffle->ne[0] / together);
  return Apply(context, weights_.connector, x);
}

ggml_tensor* VisionTower::Layer(ggml_context* context, const VisionLayer& layer, ggml_tensor* x,
                                int32_t tiles) const {
  const float epsilon = config_.vision.layer_norm_eps;
  x = ggml_add(context, x, Attention(context, layer, Apply(context, layer.norm1, epsilon, x), tiles));
  ggml_tensor* hidden = Apply(context, layer.fc1, Apply(context, layer.norm2, epsilon, x));
  return ggml_add(context, x, Apply(context, layer.fc2, GeluTanh(context, hidden)));
}

ggml_tensor* VisionTower::Attention(ggml_context* context, const VisionLayer& layer, ggml_tensor* x,
                                    int32_t tiles) const {
  const int64_t heads = config_.vision.heads, head_dim = config_.vision.hidden / heads;
  const auto split = [&](const Linear& linear) {
    return ggml_reshape_4d(context, Apply(context, linear, x), head_dim, heads, patches_, tiles);
  };
  ggml_tensor* q = ggml_permute(context, split(layer.q), 0, 2, 1, 3);
  ggml_tensor* k = ggml_permute(context, split(layer.k), 0, 2, 1, 3);
  ggml_tensor* v = ggml_cont(context, ggml_permute(context, split(layer.v), 1, 2, 0, 3));
  ggml_tensor* scores = ggml_mul_mat(context, k, q);
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  ggml_tensor* weights = ggml_soft_max_ext(context, scores, nullptr, scale, 0.0f);
  ggml_tensor* mixed = ggml_permute(context, ggml_mul_mat(context, v, weights), 0, 2, 1, 3);
  return Apply(context, layer.out,
               ggml_cont_2d(context, mixed, config_.vision.hidden, int64_t{patches_} * tiles));
}

}  // namespace kvcapsule
