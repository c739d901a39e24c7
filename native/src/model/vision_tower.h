// SigLIP tower, pixel shuffle and connector: tiles in, rows for the decoder out.
#pragma once
#include <vector>

#include "backend/cpu_backend.h"
#include "model/image_processor.h"
#include "model/tower_ops.h"
#include "model/weights.h"

namespace kvcapsule {

// Tiles on their way through the tower, together.
struct TowerBatch {
  std::vector<const RgbImage*> tiles;
  int32_t layers = 0;        // that the tiles have passed
  std::vector<float> state;  // [tiles * patches][vision hidden] after them; at the end the result
};

// Most tiles of one batch: their activations are in memory at once.
int32_t MaxTowerTiles(const ModelConfig& config);
// Activations of so many tiles in one slice.
int64_t TowerScratchBytes(const ModelConfig& config, int64_t tiles);

class VisionTower {
 public:
  // Config and weights outlive the tower.
  VisionTower(const ModelConfig& config, const Weights& weights);

  // Takes the batch through up to `layers` more layers. True at the end of the tower: state is then
  // [tiles * tokens_per_tile][text hidden]. Throws Error(kEngineFailed) and leaves the batch as it was.
  bool Advance(TowerBatch& batch, int32_t layers, CpuBackend& backend) const;
  int32_t MaxTiles() const { return MaxTowerTiles(config_); }
  int32_t layers() const { return config_.vision.layers; }
  // About how many multiplications one layer takes for one tile.
  int64_t LayerMacs() const;

 private:
  TowerShape Shape(int64_t tiles) const;
  void FillInput(const TowerBatch& batch, float* pixels, float* positions) const;

  const ModelConfig& config_;
  const Weights& weights_;
  int32_t patches_;                    // of one tile
  std::vector<int32_t> order_;         // [patches], of pixel shuffle
  std::vector<int32_t> position_ids_;  // [patches]
  TileProduct tile_product_ = ChosenTileProduct();
};

// Which learned position each patch of a full tile takes: the patch's place as a fraction of the tile,
// bucketed into the positions per side, in transformers' single precision. Row by row.
std::vector<int32_t> BucketedPositions(int32_t patches_per_side, int32_t positions_per_side);

// Rows of one tile in the order in which pixel shuffle concatenates them: [tokens][scale * scale].
std::vector<int32_t> PixelShuffleRows(int32_t patches_per_side, int32_t scale);

}  // namespace kvcapsule
