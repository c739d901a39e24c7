// Pictures through the tower in slices: which tiles go together, and whose features come out.
#pragma once
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kvcapsule/engine.h"
#include "model/vision_tower.h"

namespace kvcapsule {

struct ImageTilesJob final : ImageJob {
  bool complete() const override { return done == static_cast<int32_t>(split.tiles.size()); }

  ImageTiles split;
  std::vector<float> features;  // [tiles * tokens_per_tile][hidden]
  int32_t begun = 0;            // tiles that are done or in the batch under way
  int32_t done = 0;
};

class ImageEncoder {
 public:
  ImageEncoder(const ModelConfig& config, const VisionTower& tower);

  // Copies what it needs of the config.
  ImageCutter Cutter() const;
  // See Engine::EncodeSlice. The images come from Cutter.
  int64_t EncodeSlice(std::span<const std::shared_ptr<ImageJob>> images, int64_t macs, CpuBackend& backend);

 private:
  void Gather(std::span<const std::shared_ptr<ImageJob>> images, int32_t most);
  void Scatter();
  void TellShares() const;
  // The batch's tiles are to be computed anew, where anybody asks for them.
  void GiveUp();

  const ModelConfig& config_;
  const VisionTower& tower_;
  TowerBatch batch_;
  // Picture and tile number, by tile of the batch; none: no batch is under way.
  std::vector<std::pair<std::shared_ptr<ImageTilesJob>, int32_t>> owners_;
};

}  // namespace kvcapsule
