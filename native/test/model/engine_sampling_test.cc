// Sampling features of a step plan: each reaches its own samples and no others, and what is wrong is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "engine_driver.h"
#include "folder_config.h"

namespace kvcapsule::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int32_t kSlots = 3, kVocab = 96, kMaskWords = 3;

// Three sequences of a small random model, one sample each.
class EngineSampling : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    EngineOptions options;
    options.model_dir = std::string(KVCAPSULE_FIXTURES) + "/shuffle-1-plain";
    options.model = ReadFolderConfig(options.model_dir);
    options.threads = 1;
    options.pool_blocks = 8;
    options.max_slots = kSlots;
    options.max_step_tokens = 64;
    options.kv = Dtype::kF32;
    engine_ = Engine::Create(options);
  }
  static void TearDownTestSuite() { engine_.reset(); }

  static PlanBuilder Prompts(float temperature) {
    PlanBuilder plan;
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      plan.Op(1, slot, {});
      plan.Op(3, slot, {});
      plan.Op(4, slot, {0, slot});
      plan.chunks.insert(plan.chunks.end(), {slot, 0, 4});
      for (int32_t i = 0; i < 4; ++i) plan.Row(10 + slot * 7 + i, i, -1, 0);
      plan.SampleLast();
      plan.temperature.back() = temperature;
      plan.seed.back() = 5 + slot;
    }
    return plan;
  }

  static StepResult Run(const SampleFeatures& features, float temperature = 0) {
    const PlanBuilder plan = Prompts(temperature);
    StepPlan view = plan.View(true);
    view.features = features;
    const StepResult result = engine_->Step(view);
    PlanBuilder close;
    for (int32_t slot = 0; slot < kSlots; ++slot) close.Op(2, slot, {});
    engine_->Step(close.View(false));
    return result;
  }

  static void ExpectRefused(const std::string& part, const SampleFeatures& features) {
    const PlanBuilder plan = Prompts(0);
    StepPlan view = plan.View(false);
    view.features = features;
    try {
      engine_->Step(view);
      ADD_FAILURE() << "nothing was thrown; expected: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kPlanInvalid) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }

  static int32_t Best(std::span<const float> logits) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  static std::span<const float> Row(const StepResult& result, int32_t sample) {
    return std::span<const float>(result.logits).subspan(sample * kVocab, kVocab);
  }

  static inline std::unique_ptr<Engine> engine_;
};

TEST_F(EngineSampling, MasksHoldTheirSamplesAtAnyTemperature) {
  const std::vector<int32_t> samples = {0, 2};
  std::vector<uint32_t> bits(2 * kMaskWords);
  bits[0] = 1u << 7;                         // sample 0: token 7 alone
  bits[kMaskWords + 1] = 1u << 8 | 1u << 9;  // sample 2: tokens 40 and 41
  SampleFeatures features;
  features.masks = {samples, bits};
  for (const float temperature : {0.0f, 1.0f, 1e4f}) {
    const StepResult plain = Run({}, temperature), masked = Run(features, temperature);
    EXPECT_EQ(masked.tokens[0], 7);
    EXPECT_TRUE(masked.tokens[2] == 40 || masked.tokens[2] == 41) << masked.tokens[2];
    EXPECT_EQ(masked.tokens[1], plain.tokens[1]);
  }
}

TEST_F(EngineSampling, BiasAndPenaltiesMoveTheirSampleAlone) {
  const StepResult plain = Run({});
  const std::vector<int32_t> samples = {1};
  const std::vector<int32_t> offsets = {0, 1}, tokens = {plain.tokens[1]}, counts = {2};
  std::vector<float> second(Row(plain, 1).begin(), Row(plain, 1).end());
  second[plain.tokens[1]] = -kInfinity;
  const std::vector<float> forbidden = {-kInfinity}, factors = {0, 500, 1};
  SampleFeatures biased, penalised;
  biased.bias = {samples, offsets, tokens, forbidden};
  penalised.penalties = {samples, factors, offsets, tokens, counts};
  for (const SampleFeatures& features : {biased, penalised}) {
    const StepResult got = Run(features);
    EXPECT_EQ(got.tokens[0], plain.tokens[0]);
    EXPECT_EQ(got.tokens[1], Best(second));
    EXPECT_EQ(got.tokens[2], plain.tokens[2]);
    EXPECT_EQ(got.logits, plain.logits) << "raw logits are what the model said";
  }
}

TEST_F(EngineSampling, LogprobsAreRawWhateverIsDone) {
  const std::vector<int32_t> wanted = {-1, 3, 0}, samples = {1};
  std::vector<uint32_t> bits(kMaskWords);
  bits[2] = 1u << 31;  // token 95
  SampleFeatures features;
  features.top_logprobs = wanted;
  features.masks = {samples, bits};
  const StepResult got = Run(features);
  ASSERT_EQ(got.logprobs.size(), 3u);
  ASSERT_EQ(got.top_tokens.size(), 3u);
  EXPECT_EQ(got.logprobs[0], 0) << "not asked for";
  const auto logprob = [&](int32_t sample, int32_t token) {
    double sum = 0;
    for (const float x : Row(got, sample)) sum += std::exp(static_cast<double>(x));
    return Row(got, sample)[token] - std::log(sum);
  };
  EXPECT_EQ(got.tokens[1], 95);
  EXPECT_NEAR(got.logprobs[1], logprob(1, 95), 1e-5);
  EXPECT_EQ(got.top_tokens[0], Best(Row(got, 1)));
  for (int32_t i = 0; i < 3; ++i) EXPECT_NEAR(got.top_logprobs[i], logprob(1, got.top_tokens[i]), 1e-5);
  EXPECT_NEAR(got.logprobs[2], logprob(2, got.tokens[2]), 1e-5);
  EXPECT_TRUE(Run({}).logprobs.empty());
}

TEST_F(EngineSampling, MinPIsPerSample) {
  const std::vector<float> min_p = {0, 1, 0};
  SampleFeatures features;
  features.min_p = min_p;
  const StepResult plain = Run({}, 2), got = Run(features, 2);
  EXPECT_EQ(got.tokens[0], plain.tokens[0]);
  EXPECT_EQ(got.tokens[1], Best(Row(got, 1)));
  EXPECT_EQ(got.tokens[2], plain.tokens[2]);
}

TEST_F(EngineSampling, WhatIsWrongIsRefused) {
  using Ids = std::vector<int32_t>;
  using Floats = std::vector<float>;
  const auto refuse = [](const std::string& part, auto fill) {
    SampleFeatures features;
    fill(features);
    ExpectRefused(part, features);
  };
  const Ids none, one = {0}, two = {0, 1}, falling = {1, 0}, outside = {3};
  const Ids ends = {0, 1}, to_five = {0, 5}, back = {0, 1, 0}, token = {96}, negative = {-1};
  const Floats off = {0, 0, 1}, zero_repetition = {0, 0, 0}, nan = {NAN, 0, 1}, value = {1}, huge = {1e7f};
  const Floats probabilities = {0, 2, 0}, short_min_p = {0};
  refuse("min_p[1]", [&](auto& f) { f.min_p = probabilities; });
  refuse("min_p and samples", [&](auto& f) { f.min_p = short_min_p; });
  const Ids many = {0, 21, 0};
  refuse("top_logprobs[1]", [&](auto& f) { f.top_logprobs = many; });
  refuse("penalties.samples[0]", [&](auto& f) { f.penalties = {outside, off, ends, one, one}; });
  refuse("penalties.offsets do not cover", [&](auto& f) { f.penalties = {one, off, to_five, one, one}; });
  refuse("penalties.offsets and", [&](auto& f) { f.penalties = {one, off, none, one, one}; });
  refuse("penalty arrays", [&](auto& f) { f.penalties = {one, value, ends, one, one}; });
  refuse("penalty arrays", [&](auto& f) { f.penalties = {one, off, ends, one, none}; });
  refuse("penalties.factors[2]", [&](auto& f) { f.penalties = {one, zero_repetition, ends, one, one}; });
  refuse("penalties.factors[0]", [&](auto& f) { f.penalties = {one, nan, ends, one, one}; });
  refuse("penalties.tokens[0]", [&](auto& f) { f.penalties = {one, off, ends, token, one}; });
  refuse("penalties.counts[0]", [&](auto& f) { f.penalties = {one, off, ends, one, negative}; });
  refuse("bias.samples[1]", [&](auto& f) { f.bias = {falling, back, none, {}}; });
  refuse("bias.offsets[2]", [&](auto& f) { f.bias = {two, back, none, {}}; });
  refuse("bias.tokens[0]", [&](auto& f) { f.bias = {one, ends, token, value}; });
  refuse("bias.values[0]", [&](auto& f) { f.bias = {one, ends, one, huge}; });
  const Floats both = {1, 1};
  const Ids to_two = {0, 2};
  refuse("bias.tokens[1]", [&](auto& f) { f.bias = {one, to_two, falling, both}; });
  const std::vector<uint32_t> nothing(kMaskWords), only_zero = {1, 0, 0}, short_mask = {1};
  refuse("masks.bits", [&](auto& f) { f.masks = {one, short_mask}; });
  refuse("samples[0] may draw no token", [&](auto& f) { f.masks = {one, nothing}; });
  const Floats forbid = {-kInfinity};
  refuse("samples[0] may draw no token", [&](auto& f) {
    f.masks = {one, only_zero};
    f.bias = {one, ends, one, forbid};
  });
  EXPECT_EQ(Run({}).tokens.size(), 3u) << "and the engine goes on";
}

// Answers of all slots at temperature 1 with penalties that make each token depend on all before: token by
// token, or with every plan made before the step ahead of it has run.
class DrawnBefore : public EngineSampling {
 protected:
  static std::vector<int32_t> Answer(bool ahead) {
    std::vector<int32_t> answers = RunPenalised(Prompts(1), {{}, {}, {}}).tokens;
    std::vector<std::vector<int32_t>> known(kSlots);
    for (int32_t step = 0; step < 9; ++step) {
      PlanBuilder plan;
      const auto last = answers.end() - kSlots;
      for (int32_t slot = 0; slot < kSlots; ++slot) {
        if (!ahead) known[slot].push_back(last[slot]);
        plan.chunks.insert(plan.chunks.end(), {slot, 0, 1});
        plan.Row(ahead ? kTokenDrawnBefore : last[slot], 4 + step, -1, 0);
        plan.SampleLast();
        plan.temperature.back() = 1;
        plan.seed.back() = 5 + slot;
      }
      const StepResult result = RunPenalised(plan, known);
      for (int32_t slot = 0; slot < kSlots && ahead; ++slot) known[slot].push_back(last[slot]);
      answers.insert(answers.end(), result.tokens.begin(), result.tokens.end());
    }
    Close();
    return answers;
  }

  static StepResult RunPenalised(const PlanBuilder& plan, const std::vector<std::vector<int32_t>>& known) {
    std::vector<int32_t> samples, offsets = {0}, tokens, counts;
    std::vector<float> factors;
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      if (slot == 1) continue;  // one without
      samples.push_back(slot);
      factors.insert(factors.end(), {0.5f, 2, 1.25f});
      for (const int32_t token : std::set<int32_t>(known[slot].begin(), known[slot].end())) {
        tokens.push_back(token);
        counts.push_back(static_cast<int32_t>(std::count(known[slot].begin(), known[slot].end(), token)));
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
    }
    StepPlan view = plan.View(false);
    view.features.penalties = {samples, factors, offsets, tokens, counts};
    return engine_->Step(view);
  }

  static void Close() {
    PlanBuilder close;
    for (int32_t slot = 0; slot < kSlots; ++slot) close.Op(2, slot, {});
    engine_->Step(close.View(false));
  }
};

TEST_F(DrawnBefore, TokensAndPenaltiesAreThoseOfKnownTokens) {
  const std::vector<int32_t> known = Answer(false);
  EXPECT_EQ(Answer(true), known);
  const std::set<int32_t> different(known.begin(), known.end());
  EXPECT_GT(different.size(), 5u) << "or a wrong token would not be noticed";
}

TEST_F(DrawnBefore, AreRefusedWhereNothingWasDrawn) {
  const auto refused = [](int32_t slot, int32_t position) {
    PlanBuilder plan;
    plan.chunks = {slot, 0, 1};
    plan.Row(kTokenDrawnBefore, position, -1, 0);
    EXPECT_THROW(engine_->Step(plan.View(false)), Error) << slot << " " << position;
  };
  PlanBuilder prompts = Prompts(0);
  prompts.samples = {3, 11};  // of slots 0 and 2
  for (const auto& array : {&prompts.temperature, &prompts.top_p}) array->pop_back();
  prompts.top_k.pop_back();
  prompts.seed.pop_back();
  engine_->Step(prompts.View(false));
  refused(1, 4);
  refused(0, 3);
  refused(0, 5);
  PlanBuilder next;
  next.chunks = {0, 0, 1};
  next.Row(kTokenDrawnBefore, 4, -1, 0);
  engine_->Step(next.View(false));
  refused(2, 4);  // the step before drew nothing for it
  Close();
}

}  // namespace
}  // namespace kvcapsule::testing
