#include "model/vision_tower.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>

namespace kvcapsule {
namespace {

// What a layer's custom operations need; lives as long as its graph.
struct LayerCall {
  LayerCall(const VisionLayer& layer, const TowerShape& shape, float epsilon)
      : qkv(layer.qkv, layer.norm1, epsilon), out(layer.out), fc1(layer.fc1, layer.norm2, epsilon), fc2(layer.fc2) {
    qkv.shape = attention.shape = shape;
  }

  ggml_tensor* Build(ggml_context* context, ggml_tensor* x, int64_t intermediate) {
    ggml_tensor* attended = AttendTower(context, ProjectTowerQkv(context, x, qkv), attention);
    x = ProjectAndAdd(context, attended, x, out);
    return ProjectAndAdd(context, ProjectGelu(context, x, intermediate, fc1), x, fc2);
  }

  TowerQkvOp qkv;
  TowerAttentionOp attention;
  DenseOp out, fc1, fc2;
};

}  // namespace

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

int32_t MaxTowerTiles(const ModelConfig& config) {
  // One tile of 1,024 patches already fills every pass over the weights: more of them at a time would only take memory
  // and make slices longer. Tiles of a few patches go together by the dozen.
  constexpr int64_t kFloats = 8 << 20;
  const int64_t patches = int64_t{config.patches_per_side()} * config.patches_per_side();
  const int64_t widest = std::max<int64_t>(config.vision.intermediate, 3 * config.vision.hidden);
  return static_cast<int32_t>(std::max<int64_t>(1, kFloats / (patches * (3 * config.vision.hidden + widest))));
}

int64_t TowerScratchBytes(const ModelConfig& config, int64_t tiles) {
  const VisionConfig& vision = config.vision;
  const int64_t patches = int64_t{config.patches_per_side()} * config.patches_per_side();
  const TowerShape tile{1, patches, vision.heads, vision.hidden / vision.heads, ChosenTileProduct()};
  const int64_t states = patches * vision.hidden, pixels = 3 * patches * vision.patch_size * vision.patch_size;
  // what is alive at once: around the attention, around the MLP, around the patches' embedding
  const int64_t graph = std::max({2 * states + tile.heads * tile.HeadFloats(), 2 * states + patches * vision.intermediate,
                                  2 * states + pixels});
  // and what a slice hands to the next one
  return tiles * (graph + states) * static_cast<int64_t>(sizeof(float));
}

VisionTower::VisionTower(const ModelConfig& config, const Weights& weights)
    : config_(config), weights_(weights), patches_(config.patches_per_side() * config.patches_per_side()) {
  const VisionConfig& vision = config.vision;
  position_ids_ = BucketedPositions(config.patches_per_side(), vision.image_size / vision.patch_size);
  order_ = PixelShuffleRows(config.patches_per_side(), config.scale_factor);
}

TowerShape VisionTower::Shape(int64_t tiles) const {
  const VisionConfig& vision = config_.vision;
  return {tiles, patches_, vision.heads, vision.hidden / vision.heads, tile_product_};
}

int64_t VisionTower::LayerMacs() const {
  const int64_t hidden = config_.vision.hidden;
  return patches_ * hidden * (4 * hidden + 2 * config_.vision.intermediate + 2 * patches_);
}

bool VisionTower::Advance(TowerBatch& batch, int32_t layers, CpuBackend& backend) const {
  const VisionConfig& vision = config_.vision;
  const auto count = static_cast<int32_t>(batch.tiles.size());
  const int64_t rows = int64_t{patches_} * count;
  const int32_t last = std::min(vision.layers, batch.layers + std::max(1, layers));
  const bool begins = batch.layers == 0, ends = last == vision.layers;
  Graph graph(16 + 8 * static_cast<size_t>(last - batch.layers));
  ggml_context* context = graph.context.get();
  const auto input = [&](int64_t width) {
    ggml_tensor* tensor = ggml_new_tensor_2d(context, GGML_TYPE_F32, width, rows);
    ggml_set_input(tensor);
    return tensor;
  };
  ggml_tensor* positions = begins ? input(vision.hidden) : nullptr;
  ggml_tensor* in = begins ? input(weights_.patch_embedding.matrix.inputs()) : input(vision.hidden);
  DenseOp embed(weights_.patch_embedding), connect(weights_.connector);
  PatchShuffleOp shuffle{weights_.vision_norm, vision.layer_norm_eps, order_.data(), patches_};
  std::deque<LayerCall> calls;
  ggml_tensor* x = begins ? ProjectAndAdd(context, in, positions, embed) : in;
  for (int32_t layer = batch.layers; layer < last; ++layer) {
    calls.emplace_back(weights_.vision[layer], Shape(count), vision.layer_norm_eps);
    x = calls.back().Build(context, x, vision.intermediate);
  }
  if (ends) {
    const int64_t together = int64_t{config_.scale_factor} * config_.scale_factor;
    x = NormAndShuffle(context, x, shuffle);
    x = ggml_reshape_2d(context, x, vision.hidden * together, rows / together);
    x = Project(context, x, config_.text.hidden, connect);
  }
  ggml_set_output(x);
  ggml_build_forward_expand(graph.nodes, x);
  backend.Compute(graph, {count * LayerMacs() * (last - batch.layers), 0}, [&] {
    if (begins) {
      FillInput(batch, static_cast<float*>(in->data), static_cast<float*>(positions->data));
    } else {
      std::memcpy(in->data, batch.state.data(), ggml_nbytes(in));
    }
  });
  batch.state.resize(ggml_nelements(x));
  ggml_backend_tensor_get(x, batch.state.data(), 0, ggml_nbytes(x));
  batch.layers = last;
  return ends;
}

void VisionTower::FillInput(const TowerBatch& batch, float* pixels, float* positions) const {
  const int64_t tile_floats = weights_.patch_embedding.matrix.inputs() * patches_;
  for (const RgbImage* tile : batch.tiles) {
    WritePatches(*tile, config_.image, config_.vision.patch_size, pixels);
    pixels += tile_floats;
    for (const int32_t id : position_ids_)
      positions = std::copy_n(Floats(weights_.position_embedding) + int64_t{id} * config_.vision.hidden,
                              config_.vision.hidden, positions);
  }
}

}  // namespace kvcapsule
