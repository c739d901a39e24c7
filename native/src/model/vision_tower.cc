#include "model/vision_tower.h"

#include <algorithm>
#include <cmath>

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

int32_t VisionTower::TilesPerGraph() const {
  constexpr int64_t kScoreFloats = 32 << 20;
  const int64_t per_tile = int64_t{patches_} * patches_ * config_.vision.heads;
  return static_cast<int32_t>(std::max<int64_t>(1, kScoreFloats / per_tile));
}

std::vector<float> VisionTower::Encode(const std::vector<RgbImage>& tiles, CpuBackend& backend) const {
  const size_t per_tile = static_cast<size_t>(config_.tokens_per_tile()) * config_.text.hidden;
  std::vector<float> features(tiles.size() * per_tile);
  const auto batch = static_cast<size_t>(TilesPerGraph());
  for (size_t first = 0; first < tiles.size(); first += batch) {
    const size_t count = std::min(batch, tiles.size() - first);
    EncodeBatch(&tiles[first], static_cast<int32_t>(count), backend, &features[first * per_tile]);
  }
  return features;
}

void VisionTower::EncodeBatch(const RgbImage* tiles, int32_t count, CpuBackend& backend, float* out) const {
  const VisionConfig& vision = config_.vision;
  const int32_t scale = config_.scale_factor, rows = patches_ * count;
  Graph graph(64 + 40 * static_cast<size_t>(vision.layers));
  ggml_context* context = graph.context.get();
  ggml_tensor* pixels =
      ggml_new_tensor_2d(context, GGML_TYPE_F32, weights_.patch_embedding.weight->ne[0], rows);
  ggml_tensor* positions = ggml_new_tensor_1d(context, GGML_TYPE_I32, rows);
  ggml_tensor* shuffle = ggml_new_tensor_1d(context, GGML_TYPE_I32, rows);
  for (ggml_tensor* input : {pixels, positions, shuffle}) ggml_set_input(input);

  ggml_tensor* x = Apply(context, weights_.patch_embedding, pixels);
  x = ggml_add(context, x, ggml_get_rows(context, weights_.position_embedding, positions));
  for (const VisionLayer& layer : weights_.vision) x = Layer(context, layer, x, count);
  x = Apply(context, weights_.vision_norm, vision.layer_norm_eps, x);
  x = ggml_get_rows(context, x, shuffle);
  x = ggml_reshape_2d(context, x, int64_t{vision.hidden} * scale * scale, rows / (scale * scale));
  x = Apply(context, weights_.connector, x);
  ggml_set_output(x);
  ggml_build_forward_expand(graph.nodes, x);

  const int64_t macs_per_row =
      int64_t{vision.hidden} * (4 * vision.hidden + 2 * vision.intermediate) * vision.layers;
  backend.Compute(graph, rows * macs_per_row, [&] {
    const std::vector<int32_t> order = PixelShuffleRows(config_.patches_per_side(), scale);
    const int64_t tile_floats = pixels->ne[0] * patches_;
    for (int32_t tile = 0; tile < count; ++tile) {
      WritePatches(tiles[tile], config_.image, vision.patch_size,
                   static_cast<float*>(pixels->data) + tile * tile_floats);
      for (int32_t i = 0; i < patches_; ++i) {
        static_cast<int32_t*>(positions->data)[tile * patches_ + i] = position_ids_[i];
        static_cast<int32_t*>(shuffle->data)[tile * patches_ + i] = tile * patches_ + order[i];
      }
    }
  });
  ggml_backend_tensor_get(x, out, 0, ggml_nbytes(x));
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
