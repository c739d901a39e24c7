// Small models with random weights, each different in shape, against transformers.
#include <gtest/gtest.h>

#include <cmath>

#include "../targets.h"
#include "engine_driver.h"
#include "folder_config.h"

namespace kvcapsule::testing {
namespace {

// On each of the machine's vector targets.
class ModelFixture : public ::testing::TestWithParam<std::tuple<const char*, int64_t>> {
 protected:
  std::string Folder() const { return std::string(KVCAPSULE_FIXTURES) + "/" + std::get<0>(GetParam()); }

 private:
  UseTarget use_{std::get<1>(GetParam())};
};

EngineOptions Options(const std::string& model_dir, WeightType weights, int32_t threads) {
  EngineOptions options;
  options.model_dir = model_dir;
  options.model = ReadFolderConfig(options.model_dir);
  options.weights = weights;
  options.kv = Dtype::kF32;
  options.threads = threads;
  options.pool_blocks = 64;
  return options;
}

double WorstDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::fabs(a[i] - b[i]);
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

TEST_P(ModelFixture, AnswersAsTransformers) {
  const std::string folder = Folder();
  const std::vector<GoldenCase> golden = ReadGolden(folder);
  for (const int32_t chunk : {1024, 5}) {
    EngineDriver driver(Engine::Create(Options(folder, WeightType::kF32, 1)), folder);
    const Request request = driver.Run({&golden[0]}, chunk)[0];
    EXPECT_EQ(request.answer, golden[0].answer_ids) << "chunk " << chunk;
    EXPECT_LE(WorstDifference(request.prompt_logits, golden[0].logits_at_prompt_end), 1e-3)
        << "chunk " << chunk;
  }
}

TEST_P(ModelFixture, RunsInEveryWeightType) {
  const std::string folder = Folder();
  const std::vector<GoldenCase> golden = ReadGolden(folder);
  double scale = 0;
  for (const float logit : golden[0].logits_at_prompt_end) scale = std::max<double>(scale, std::fabs(logit));
  for (const auto& [type, tolerance] : {std::pair{WeightType::kF16, 0.02},
                                        {WeightType::kBF16, 0.15},
                                        {WeightType::kQ8_0, 0.15},
                                        {WeightType::kQ4_1, 0.8}}) {
    EngineDriver driver(Engine::Create(Options(folder, type, 2)), folder);
    const Request request = driver.Run({&golden[0]}, 1024)[0];
    EXPECT_LE(WorstDifference(request.prompt_logits, golden[0].logits_at_prompt_end), tolerance * scale)
        << static_cast<int32_t>(type);
  }
}

// A step of many rows widens quantized weights first, one of few makes them in registers.
TEST_P(ModelFixture, QuantizedWeightsGiveTheSameNumbersInAnyChunks) {
  const std::string folder = Folder();
  const std::vector<GoldenCase> golden = ReadGolden(folder);
  for (const WeightType type : {WeightType::kQ8_0, WeightType::kQ4_1}) {
    EngineDriver whole(Engine::Create(Options(folder, type, 1)), folder);
    const Request wanted = whole.Run({&golden[0]}, 1024)[0];
    for (const int32_t chunk : {1, 3, 5}) {
      EngineDriver driver(Engine::Create(Options(folder, type, 2)), folder);
      const Request request = driver.Run({&golden[0]}, chunk)[0];
      EXPECT_EQ(request.prompt_logits, wanted.prompt_logits) << "chunk " << chunk;
      EXPECT_EQ(request.answer, wanted.answer) << "chunk " << chunk;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ModelFixture,
    ::testing::Combine(::testing::Values("shuffle-1-plain", "shuffle-2-gqa", "shuffle-3-mha-untied",
                                         "shuffle-4-smolvlm", "unsplit-buckets", "uneven-tile"),
                       ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets())),
    [](const auto& info) {
      std::string name = std::string(std::get<0>(info.param)) + "_" + hwy::TargetName(std::get<1>(info.param));
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

}  // namespace
}  // namespace kvcapsule::testing
