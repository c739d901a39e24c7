// SigLIP tower, pixel shuffle and connector: tiles in, rows for the decoder out.
#pragma once
#include <vector>

#include "backend/cpu_backend.h"
#include "model/image_processor.h"
#include "model/weights.h"

namespace kvcapsule {

class VisionTower {
 public:
  // Config and weights outlive the tower.
  VisionTower(const ModelConfig& config, const Weights& weights);

  // [tiles * tokens_per_tile][text hidden], tiles in order. Throws Error(kEngineFailed).
  std::vector<float> Encode(const std::vector<RgbImage>& tiles, CpuBackend& backend) const;

 private:
  // Tiles of one graph: attention scores of all of them are in memory at once.
  int32_t TilesPerGraph() const;
  void EncodeBatch(const RgbImage* tiles, int32_t count, CpuBackend& backend, float* out) const;
  ggml_tensor* Layer(ggml_context* context, const VisionLayer& layer, ggml_tensor* x, int32_t tiles) const;
  ggml_tensor* Attention(ggml_context* context, const VisionLayer& layer, ggml_tensor* x,
                         int32_t tiles) const;

  const ModelConfig& config_;
  const Weights& weights_;
  int32_t patches_;                    // of one tile
  std::vector<int32_t> position_ids_;  // [patches]
};

// Which learned position each patch of a full tile takes: the patch's place as a fraction of the tile,
// bucketed into the positions per side, in transformers' single precision. Row by row.
std::vector<int32_t> BucketedPositions(int32_t patches_per_side, int32_t positions_per_side);

// Rows of one tile in the order in which pixel shuffle concatenates them: [tokens][scale * scale].
std::vector<int32_t> PixelShuffleRows(int32_t patches_per_side, int32_t scale);

}  // namespace kvcapsule
