#include "model/image_encoder.h"

#include <algorithm>

namespace kvcapsule {

ImageEncoder::ImageEncoder(const ModelConfig& config, const VisionTower& tower)
    : config_(config), tower_(tower) {}

ImageCutter ImageEncoder::Cutter() const {
  const size_t floats = static_cast<size_t>(config_.tokens_per_tile()) * config_.text.hidden;
  return [config = config_.image, floats](const uint8_t* rgb, int32_t width, int32_t height) {
    if (width < 1 || height < 1) throw Error(ErrorCode::kEngineFailed, "a picture has no pixels");
    const size_t bytes = static_cast<size_t>(width) * height * 3;
    auto job = std::make_shared<ImageTilesJob>();
    job->split = SplitImage({width, height, {rgb, rgb + bytes}}, config);
    job->features.resize(job->split.tiles.size() * floats);
    return job;
  };
}

int64_t ImageEncoder::EncodeSlice(std::span<const std::shared_ptr<ImageJob>> images, int64_t macs,
                                  CpuBackend& backend) {
  const int64_t per_layer = tower_.LayerMacs(), per_tile = per_layer * tower_.layers();
  if (std::ranges::all_of(owners_, [](const auto& owner) { return owner.first->watch->cancelled.load(); })) GiveUp();
  if (owners_.empty())
    Gather(images, static_cast<int32_t>(std::clamp<int64_t>(macs / per_tile, 1, tower_.MaxTiles())));
  if (owners_.empty()) return 0;
  const auto tiles = static_cast<int64_t>(owners_.size());
  const auto layers =
      static_cast<int32_t>(std::clamp<int64_t>(macs / (tiles * per_layer), 1, tower_.layers()));
  const int32_t before = batch_.layers;
  try {
    const bool ends = tower_.Advance(batch_, layers, backend);
    TellShares();
    if (ends) Scatter();
  } catch (...) {
    GiveUp();
    throw;
  }
  return tiles * per_layer * std::min(layers, tower_.layers() - before);
}

void ImageEncoder::TellShares() const {
  const float passed = static_cast<float>(batch_.layers) / static_cast<float>(tower_.layers());
  for (const auto& [job, tile] : owners_) {
    const float tiles = static_cast<float>(job->done) + static_cast<float>(job->begun - job->done) * passed;
    job->watch->share = tiles / static_cast<float>(job->split.tiles.size());
  }
}

void ImageEncoder::GiveUp() {
  for (const auto& [job, tile] : owners_) job->begun = job->done;
  owners_.clear();
  batch_ = {};
}

void ImageEncoder::Gather(std::span<const std::shared_ptr<ImageJob>> images, int32_t most) {
  batch_ = {};
  for (const std::shared_ptr<ImageJob>& image : images) {
    auto job = std::static_pointer_cast<ImageTilesJob>(image);
    const auto tiles = static_cast<int32_t>(job->split.tiles.size());
    while (job->begun < tiles && static_cast<int32_t>(owners_.size()) < most) {
      batch_.tiles.push_back(&job->split.tiles[job->begun]);
      owners_.emplace_back(job, job->begun++);
    }
  }
}

void ImageEncoder::Scatter() {
  const auto floats = static_cast<int64_t>(config_.tokens_per_tile()) * config_.text.hidden;
  for (size_t i = 0; i < owners_.size(); ++i) {
    const auto& [job, tile] = owners_[i];
    std::copy_n(batch_.state.begin() + i * floats, floats, job->features.begin() + tile * floats);
    ++job->done;
  }
  owners_.clear();
  batch_ = {};
}

}  // namespace kvcapsule
