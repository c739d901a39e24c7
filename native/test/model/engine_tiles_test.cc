// The whole engine with products on emulated tiles, as processors with AMX run it: transformers' answers, and the same
// bits whatever the batch and the chunks.
#include <gtest/gtest.h>

#include <cmath>

#include "../emulated_tiles.h"
#include "engine_driver.h"
#include "folder_config.h"

namespace kvcapsule::testing {
namespace {

class EngineTiles : public ::testing::TestWithParam<const char*> {
 protected:
  EngineTiles() {
    const std::string name = GetParam();
    folder_ = name.empty() ? DemoModelDir() : KVCAPSULE_FIXTURES "/" + name;
    golden_ = ReadGolden(folder_);
    EngineOptions options;
    options.model_dir = folder_;
    options.model = ReadFolderConfig(folder_);
    options.weights = WeightType::kBF16;  // as they are stored
    options.kv = Dtype::kF32;
    options.threads = 2;
    options.pool_blocks = 256;
    options.max_slots = 16;
    options.max_step_tokens = 4096;
    driver_ = std::make_unique<EngineDriver>(Engine::Create(options), folder_);
  }

  const UseTileProduct use_{kEmulatedProduct};
  std::string folder_;
  std::vector<GoldenCase> golden_;
  std::unique_ptr<EngineDriver> driver_;
};

TEST_P(EngineTiles, AnswersAsTransformersInAnyBatchAndChunks) {
  std::vector<const GoldenCase*> cases;
  for (const GoldenCase& golden : golden_) cases.push_back(&golden);
  cases.resize(std::min<size_t>(cases.size(), 2));  // emulation takes its time
  const std::vector<Request> together = driver_->Run(cases, 17);
  for (size_t i = 0; i < cases.size(); ++i) {
    const GoldenCase& golden = *cases[i];
    EXPECT_EQ(together[i].answer, golden.answer_ids) << golden.name;
    ASSERT_EQ(together[i].prompt_logits.size(), golden.logits_at_prompt_end.size()) << golden.name;
    for (size_t token = 0; token < golden.logits_at_prompt_end.size(); ++token)
      ASSERT_NEAR(together[i].prompt_logits[token], golden.logits_at_prompt_end[token], 1e-3) << golden.name;
    const Request alone = driver_->Run({&golden}, 4096)[0];
    EXPECT_EQ(alone.prompt_logits, together[i].prompt_logits) << golden.name;
    EXPECT_EQ(alone.answer, together[i].answer) << golden.name;
  }
}

// The demo model has no name here.
INSTANTIATE_TEST_SUITE_P(Models, EngineTiles,
                         ::testing::Values("", "shuffle-1-plain", "shuffle-2-gqa", "shuffle-3-mha-untied",
                                           "shuffle-4-smolvlm", "uneven-tile"));

}  // namespace
}  // namespace kvcapsule::testing
