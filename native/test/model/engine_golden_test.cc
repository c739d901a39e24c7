// The whole engine against what transformers computed from the same weights, in single precision.
#include <gtest/gtest.h>

#include <cmath>

#include "engine_driver.h"
#include "folder_config.h"
#include "model/image_processor.h"

namespace kvcapsule::testing {
namespace {

EngineOptions Options(const std::string& model_dir, WeightType weights) {
  EngineOptions options;
  options.model_dir = model_dir;
  options.model = ReadFolderConfig(options.model_dir);
  options.weights = weights;
  options.kv = Dtype::kF32;
  options.threads = 2;
  options.pool_blocks = 1024;
  options.max_slots = 64;
  options.max_step_tokens = 8192;
  return options;
}

void ExpectGolden(const Request& request) {
  const GoldenCase& golden = *request.golden;
  EXPECT_EQ(request.answer, golden.answer_ids) << golden.name;
  ASSERT_EQ(request.prompt_logits.size(), golden.logits_at_prompt_end.size()) << golden.name;
  double worst = 0;
  for (size_t i = 0; i < golden.logits_at_prompt_end.size(); ++i) {
    worst = std::max<double>(worst, std::fabs(request.prompt_logits[i] - golden.logits_at_prompt_end[i]));
    ASSERT_FALSE(std::isnan(request.prompt_logits[i])) << golden.name;
  }
  EXPECT_LE(worst, 1e-3) << golden.name;
}

class EngineGolden : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_dir_ = DemoModelDir();
    golden_ = ReadGolden(model_dir_);
    driver_ = std::make_unique<EngineDriver>(Engine::Create(Options(model_dir_, WeightType::kF32)), model_dir_);
  }
  static void TearDownTestSuite() { driver_.reset(); }

  static std::vector<const GoldenCase*> All() {
    std::vector<const GoldenCase*> cases;
    for (const GoldenCase& golden : golden_) cases.push_back(&golden);
    return cases;
  }

  static inline std::string model_dir_;
  static inline std::vector<GoldenCase> golden_;
  static inline std::unique_ptr<EngineDriver> driver_;
};

TEST_F(EngineGolden, PixelsAreThoseOfTransformers) {
  const ModelConfig config = ReadFolderConfig(model_dir_);
  const int32_t patch = config.vision.patch_size, side = config.patches_per_side();
  for (const GoldenCase& golden : golden_) {
    std::vector<RgbImage> tiles;
    for (const std::string& picture : golden.pictures) {
      for (RgbImage& tile : SplitImage(ReadPng(model_dir_ + "/" + picture), config.image).tiles)
        tiles.push_back(std::move(tile));
    }
    for (const GoldenCase::PixelSample& sample : golden.pixels) {
      ASSERT_LT(sample.tile, static_cast<int32_t>(tiles.size())) << golden.name;
      std::vector<float> patches(3 * config.image.tile * config.image.tile);
      WritePatches(tiles[sample.tile], config.image, patch, patches.data());
      const int32_t index = sample.y / patch * side + sample.x / patch;
      const size_t at =
          ((static_cast<size_t>(index) * 3 + sample.channel) * patch + sample.y % patch) * patch +
          sample.x % patch;
      EXPECT_NEAR(patches[at], sample.value, 1e-6) << golden.name;  // written with six decimals
    }
  }
}

TEST_F(EngineGolden, EachCaseAlone) {
  for (const GoldenCase& golden : golden_) ExpectGolden(driver_->Run({&golden}, 8192)[0]);
}

TEST_F(EngineGolden, AllCasesInOneBatch) {
  for (const Request& request : driver_->Run(All(), 8192)) ExpectGolden(request);
}

TEST_F(EngineGolden, PrefillInChunksOf64) {
  for (const Request& request : driver_->Run(All(), 64)) ExpectGolden(request);
}

TEST_F(EngineGolden, PrefillInChunksOf7) {
  for (const Request& request : driver_->Run(All(), 7)) ExpectGolden(request);
}

// To the last bit: sums run in an order of their own, whatever else is in the step.
TEST_F(EngineGolden, LogitsDoNotDependOnBatchOrChunks) {
  const std::vector<Request> together = driver_->Run(All(), 64);
  for (size_t i = 0; i < golden_.size(); ++i) {
    for (const int32_t chunk : {8192, 100}) {
      const Request alone = driver_->Run({&golden_[i]}, chunk)[0];
      EXPECT_EQ(alone.prompt_logits, together[i].prompt_logits) << golden_[i].name << ", chunks of " << chunk;
    }
  }
}

// Their round-off moves logits by little: a token of which two were nearly as likely, in one answer.
TEST_F(EngineGolden, EightBitWeightsGiveTheSameAnswersButForOne) {
  EngineDriver driver(Engine::Create(Options(model_dir_, WeightType::kQ8_0)), model_dir_);
  int32_t others = 0;
  for (const Request& request : driver.Run(All(), 256)) others += request.answer != request.golden->answer_ids;
  EXPECT_LE(others, 1) << "of " << golden_.size();
}

}  // namespace
}  // namespace kvcapsule::testing
