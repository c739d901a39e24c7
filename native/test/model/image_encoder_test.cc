// A picture's features are the same bits however its tiles are sliced and whoever they share a graph with.
#include <gtest/gtest.h>

#include <random>

#include "folder_config.h"
#include "golden.h"
#include "kvcapsule/engine.h"
#include "model/image_encoder.h"

namespace kvcapsule::testing {
namespace {

std::vector<std::string> Folders() {
  std::vector<std::string> folders{DemoModelDir()};
  for (const char* name : {"shuffle-1-plain", "shuffle-2-gqa", "shuffle-4-smolvlm", "unsplit-buckets",
                           "uneven-tile"})
    folders.push_back(std::string(KVCAPSULE_FIXTURES) + "/" + name);
  return folders;
}

EngineOptions Options(const std::string& model_dir, WeightType weights) {
  EngineOptions options;
  options.model_dir = model_dir;
  options.model = ReadFolderConfig(options.model_dir);
  options.weights = weights;
  options.threads = 2;
  options.pool_blocks = 1;
  return options;
}

// Pictures of several shapes, so that their tiles fill graphs unevenly.
std::vector<std::shared_ptr<ImageJob>> Cut(const Engine& engine) {
  std::mt19937 random(7);
  std::vector<std::shared_ptr<ImageJob>> images;
  for (const auto& [width, height] : {std::pair{40, 40}, {200, 90}, {33, 150}, {256, 256}}) {
    std::vector<uint8_t> rgb(static_cast<size_t>(width) * height * 3);
    for (uint8_t& value : rgb) value = static_cast<uint8_t>(random());
    images.push_back(engine.image_cutter()(rgb.data(), width, height));
  }
  return images;
}

std::vector<float>& Features(ImageJob& image) { return static_cast<ImageTilesJob&>(image).features; }

class ImageEncoderTest : public ::testing::TestWithParam<WeightType> {};

TEST_P(ImageEncoderTest, FeaturesDoNotDependOnSlicesAndNeighbours) {
  for (const std::string& folder : Folders()) {
    const auto engine = Engine::Create(Options(folder, GetParam()));
    std::vector<std::vector<float>> alone;
    for (const auto& image : Cut(*engine)) {
      while (engine->EncodeSlice({&image, 1}, INT64_MAX) > 0) continue;
      ASSERT_TRUE(image->complete());
      alone.push_back(Features(*image));
    }
    for (const int64_t macs : {int64_t{1}, int64_t{3'000'000}, int64_t{100'000'000}, INT64_MAX}) {
      const auto together = Cut(*engine);
      int32_t slices = 0;
      for (; engine->EncodeSlice(together, macs) > 0; ++slices) ASSERT_LT(slices, 10'000);
      if (macs == 1) {
        EXPECT_GE(slices, 4) << folder;  // a layer of a tile at a time
      }
      for (size_t i = 0; i < together.size(); ++i)
        EXPECT_EQ(Features(*together[i]), alone[i]) << folder << " picture " << i << " macs " << macs;
    }
  }
}

TEST_P(ImageEncoderTest, APictureThatIsGivenUpInTheMiddleLeavesTheOthersRight) {
  const auto engine = Engine::Create(Options(DemoModelDir(), GetParam()));
  auto images = Cut(*engine);
  const auto whole = Cut(*engine)[3];
  while (engine->EncodeSlice({&whole, 1}, INT64_MAX) > 0) continue;
  engine->EncodeSlice(images, 1);
  images.erase(images.begin());
  while (engine->EncodeSlice(images, 50'000'000) > 0) continue;
  EXPECT_EQ(Features(*images[2]), Features(*whole));
}

TEST_P(ImageEncoderTest, TilesOfACancelledPictureAreLetGoWithinASlice) {
  const auto engine = Engine::Create(Options(DemoModelDir(), GetParam()));
  const std::shared_ptr<ImageJob> image = Cut(*engine)[3], whole = Cut(*engine)[3];
  while (engine->EncodeSlice({&whole, 1}, INT64_MAX) > 0) continue;
  EXPECT_EQ(whole->watch->share, 1);
  engine->EncodeSlice({&image, 1}, 1);
  EXPECT_GT(image->watch->share, 0);
  EXPECT_LT(image->watch->share, 1);
  image->watch->cancelled = true;
  EXPECT_EQ(engine->EncodeSlice({}, 1), 0);
  EXPECT_EQ(image.use_count(), 1);
  image->watch->cancelled = false;
  while (engine->EncodeSlice({&image, 1}, INT64_MAX) > 0) continue;
  EXPECT_EQ(Features(*image), Features(*whole));
}

INSTANTIATE_TEST_SUITE_P(Weights, ImageEncoderTest,
                         ::testing::Values(WeightType::kF32, WeightType::kF16, WeightType::kBF16));

}  // namespace
}  // namespace kvcapsule::testing
