#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>

#include "kvcapsule/error.h"
#include "sampling/logit_adjustments.h"
#include "sampling/logprobs.h"
#include "sampling/sampler.h"
#include "sampling/truncation.h"
#include "sampling/vocab.h"
#include "scene.h"
#include "targets.h"

namespace kvcapsule {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class SamplingTest : public testing::TargetTest {};
class TruncationTest : public testing::TargetTest {};
class LogprobsTest : public testing::TargetTest {};

// Exact probabilities of what Sample draws, written straight from the definition.
std::vector<double> Probabilities(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<int32_t> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  std::vector<double> weights(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    weights[i] = std::exp((static_cast<double>(logits[i]) - logits[order[0]]) / params.temperature);
  for (double& weight : weights) weight = weight < params.min_p ? 0 : weight;
  size_t kept = params.top_k > 0 ? std::min<size_t>(params.top_k, order.size()) : order.size();
  double total = 0, sum = 0;
  for (size_t i = 0; i < kept; ++i) total += weights[order[i]];
  size_t count = 0;
  while (count < kept && (count == 0 || sum < params.top_p * total)) sum += weights[order[count++]];
  std::vector<double> probabilities(logits.size());
  for (size_t i = 0; i < count; ++i) probabilities[order[i]] = weights[order[i]] / sum;
  return probabilities;
}

TEST_P(SamplingTest, PhiloxGivesThePublishedBits) {
  // Philox4x32-10 of counter 0 and key 0 begins 6627e8d5 e169c58d (Random123's known answers).
  EXPECT_EQ(CounterUniform(0, 0),
            ((0x6627e8d5u >> 5) * 67108864.0 + (0xe169c58du >> 6)) / 9007199254740992.0);
}

TEST_P(SamplingTest, UniformsAreSpreadEvenlyAndStayBelowOne) {
  std::vector<int32_t> bins(64);
  for (uint32_t position = 0; position < 64000; ++position) {
    const double u = CounterUniform(77, position);
    ASSERT_TRUE(u >= 0 && u < 1);
    ++bins[static_cast<size_t>(u * 64)];
  }
  double chi = 0;
  for (const int32_t bin : bins) chi += (bin - 1000.0) * (bin - 1000.0) / 1000;
  EXPECT_LT(chi, 130) << "63 degrees of freedom: beyond 1 in 10^6";
  EXPECT_NE(CounterUniform(1, 5), CounterUniform(2, 5));
  EXPECT_NE(CounterUniform(uint64_t{1} << 32, 5), CounterUniform(0, 5))
      << "the upper half of the seed counts";
}

TEST_P(SamplingTest, WeightsAreExactToTwoUnits) {
  for (int count = 1; count <= 130; ++count) {
    for (float x = -87.3f; x <= 80.0f; x += 1.937f) {
      std::vector<float> logits(count, x + 1), weights(count, NAN);
      const double sum = Weigh(logits, 1, 1, weights.data());
      const double want = std::exp(static_cast<double>(x + 1) - 1);
      // x + 1 - 1 has lost the last bits of x where x is small
      ASSERT_TRUE(std::abs(weights[0] - want) <= 2.5e-7 * want) << x;
      ASSERT_EQ(weights, std::vector<float>(count, weights[0]));
      ASSERT_TRUE(std::abs(sum - count * want) <= 1e-6 * count * want);
    }
  }
  std::vector<float> weights(3);
  const float extremes[] = {0, -INFINITY, -1e30f};
  EXPECT_EQ(Weigh(extremes, 0, 1, weights.data()), 1);
  EXPECT_EQ(weights, (std::vector<float>{1, 0, 0}));
}

TEST_P(SamplingTest, FollowsTheExactDistribution) {
  testing::Rng rng(4);
  const auto base = testing::Gaussian(rng, 37, 2);
  const SamplingParams cases[] = {{1.0f, 1, 0},       {0.7f, 1, 0},          {2.5f, 1, 0},
                                  {1, 0.8f, 0},       {1, 0.3f, 0},          {1, 1, 5},
                                  {1, 1, 1},          {1.3f, 0.9f, 12},      {1, 1, 1000},
                                  {1, 0.999999f, 36}, {1, 1, 0, 0, 0, 0.2f}, {1.5f, 0.9f, 9, 0, 0, 0.05f},
                                  {2, 1, 0, 0, 0, 1}};
  for (SamplingParams params : cases) {
    auto logits = base;
    logits[3] = -kInfinity;
    logits[20] = logits[21] = logits[22];  // ties at the edge of a truncation
    const auto want = Probabilities(logits, params);
    constexpr int32_t kDraws = 40000;
    std::vector<int32_t> counts(logits.size());
    params.seed = 12345;
    for (params.position = 0; params.position < kDraws; ++params.position) ++counts[Sample(logits, params)];
    for (size_t i = 0; i < logits.size(); ++i) {
      const double deviation = std::sqrt(want[i] * (1 - want[i]) / kDraws);
      EXPECT_TRUE(std::abs(static_cast<double>(counts[i]) / kDraws - want[i]) <= 5 * deviation + 1e-12)
          << "token " << i << " T " << params.temperature << " p " << params.top_p << " k " << params.top_k;
    }
  }
}

TEST_P(SamplingTest, LargeVocabularyTruncationFindsTheRightSet) {
  testing::Rng rng(5);
  const auto logits = testing::Gaussian(rng, 5003, 1);
  for (const float top_p : {0.1f, 0.5f, 0.99f}) {
    const SamplingParams params{1, top_p, 3000, 9, 0};
    const auto want = Probabilities(logits, params);
    std::vector<bool> seen(logits.size());
    for (int32_t position = 0; position < 3000; ++position) {
      const int32_t id = Sample(logits, {1, top_p, 3000, 9, position});
      ASSERT_GT(want[id], 0) << "outside the kept set";
      seen[id] = true;
    }
    for (size_t i = 0; i < seen.size(); ++i)
      EXPECT_TRUE(seen[i] || want[i] < 0.005) << "3000 draws miss it 1 in 10^6";
  }
}

TEST_P(SamplingTest, TiesGoToTheLowerIdEvenBetweenTheTwoZeros) {
  const std::vector<float> logits = {-1, -0.0f, 0.0f, 0.0f};
  EXPECT_EQ(Sample(logits, {0, 1, 0, 1, 0}), 1);
  for (int32_t position = 0; position < 200; ++position) {
    const int32_t id = Sample(logits, {1, 1, 2, 1, position});
    ASSERT_TRUE(id == 1 || id == 2) << id;
  }
}

TEST_P(SamplingTest, ADrawDependsOnSeedAndPositionAlone) {
  testing::Rng rng(6);
  const auto logits = testing::Gaussian(rng, 500, 1), other = testing::Gaussian(rng, 500, 1);
  std::map<uint64_t, int32_t> first;
  int32_t differing = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) first[seed] = Sample(logits, {1, 1, 0, seed, 7});
  for (uint64_t seed = 50; seed-- > 0;) {
    Sample(other, {0.5f, 0.5f, 10, seed, 3});
    EXPECT_EQ(Sample(logits, {1, 1, 0, seed, 7}), first[seed]);
    differing += Sample(logits, {1, 1, 0, seed, 8}) != first[seed];
  }
  EXPECT_GT(differing, 40);
}

TEST_P(SamplingTest, ExtremesAreGreedyAndFinite) {
  testing::Rng rng(7);
  auto logits = testing::Gaussian(rng, 300, 3);
  logits[120] = logits[40] = 50;
  for (const float temperature :
       {0.0f, 1e-4f, 9e-6f, 1e-7f, 1e-38f, std::numeric_limits<float>::denorm_min(), -1.0f, NAN}) {
    for (const float top_p : {0.0f, 1e-9f, 0.5f, 1.0f, NAN}) {
      for (int32_t position = 0; position < 20; ++position) {
        const int32_t token = Sample(logits, {temperature, top_p, 0, 3, position});
        // 1e-4 is a true temperature, so two equal peaks may share; anything below is greedy.
        if (temperature == 1e-4f && top_p >= 0.5f) {
          ASSERT_TRUE(token == 40 || token == 120);
        } else {
          ASSERT_EQ(token, 40) << temperature << " " << top_p;
        }
      }
    }
  }
  for (const float top_p : {0.0f, 1e-9f, -1.0f}) EXPECT_EQ(Sample(logits, {1, top_p, 0, 3, 1}), 40);
  for (const float temperature : {1e30f, kInfinity}) {
    logits[40] = -kInfinity;
    for (int32_t position = 0; position < 3000; ++position) {
      ASSERT_NE(Sample(logits, {temperature, 1, 0, 3, position}), 40)
          << "masked tokens stay out at any temperature";
    }
  }
}

TEST_P(SamplingTest, MinPKeepsWhatIsLikelyEnoughBesideThePeak) {
  const std::vector<float> logits = {0, std::log(0.5f), std::log(0.3f), std::log(0.05f)};
  const auto drawn = [&](float min_p, float temperature) {
    std::vector<bool> seen(logits.size());
    for (int32_t position = 0; position < 2000; ++position)
      seen[Sample(logits, {temperature, 1, 0, 1, position, min_p})] = true;
    return seen;
  };
  EXPECT_EQ(drawn(0.4f, 1), (std::vector<bool>{true, true, false, false}));
  EXPECT_EQ(drawn(0.1f, 1), (std::vector<bool>{true, true, true, false}));
  EXPECT_EQ(drawn(1, 1), (std::vector<bool>{true, false, false, false}));
  EXPECT_EQ(drawn(0.4f, 2), (std::vector<bool>{true, true, true, false})) << "counts after the temperature";
  EXPECT_EQ(drawn(0.2f, 1e30f), (std::vector<bool>{true, true, true, true}));
}

// What a full sort keeps.
Cut SortedCut(const std::vector<float>& logits, const std::vector<float>& weights, double total,
              int32_t top_k, float top_p) {
  std::vector<int32_t> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  size_t kept = order.size();
  if (top_k > 0 && static_cast<size_t>(top_k) < kept) {
    kept = top_k;
    total = 0;
    for (size_t i = 0; i < kept; ++i) total += weights[order[i]];
  }
  double sum = weights[order[0]];
  size_t count = 1;
  while (count < kept && sum < top_p * total) sum += weights[order[count++]];
  const int32_t last = order[top_p < 1 ? count - 1 : kept - 1];
  return {logits[last], last};
}

TEST_P(TruncationTest, KeepsWhatAFullSortWould) {
  testing::Rng rng(11);
  for (int32_t round = 0; round < 3000; ++round) {
    const auto size = static_cast<size_t>(1 + rng() % (round % 10 == 0 ? 6000 : 300));
    auto logits = testing::Gaussian(rng, static_cast<int64_t>(size), round % 3 == 0 ? 0.1f : 4);
    if (round % 4 == 0) {
      for (float& logit : logits) logit = std::round(logit);  // many ties
    }
    if (round % 5 == 0) logits[rng() % size] = -kInfinity;
    const float peak = *std::max_element(logits.begin(), logits.end());
    if (peak == -kInfinity) continue;
    std::vector<float> weights(size);
    double total = 0;
    for (size_t i = 0; i < size; ++i) total += weights[i] = std::exp(logits[i] - peak);
    const auto top_k = round % 2 == 0 ? 0 : static_cast<int32_t>(1 + rng() % (size + 2));
    const float top_p = round % 3 == 1 ? 1 : static_cast<float>(rng() % 10000) / 10000 + 1e-6f;
    if (top_k == 0 && top_p == 1) continue;
    const Cut cut = FindCut(logits, weights, total, top_k, top_p);
    if (top_p == 1 && static_cast<size_t>(top_k) >= size) {
      EXPECT_EQ(cut.logit, -kInfinity) << "all are kept";
      continue;
    }
    const Cut want = SortedCut(logits, weights, total, top_k, top_p);
    ASSERT_EQ(cut.id, want.id) << "round " << round << " size " << size << " k " << top_k << " p " << top_p;
    ASSERT_EQ(cut.logit, want.logit);
  }
}

// Straight from the definition.
float Logprob(const std::vector<float>& logits, int32_t token) {
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x));
  return std::max(static_cast<float>(logits[token] - std::log(sum)), kImpossibleLogprob);
}

struct Logprobs {
  std::vector<float> chosen, top;
  std::vector<int32_t> tokens;
};

Logprobs LogprobsOf(const std::vector<float>& logits, int32_t token, int32_t top) {
  Logprobs result;
  AppendLogprobs(logits, token, top, result.chosen, result.tokens, result.top);
  return result;
}

TEST_P(LogprobsTest, AreOfTheWholeDistributionLikeliestFirst) {
  testing::Rng rng(8);
  for (const size_t size : {1, 3, 20, 63, 64, 65, 129, 1000, 5003}) {
    auto logits = testing::Gaussian(rng, size, 2);
    // ties, some across the strides of the search
    for (size_t i = 0; i < size; i += 7) logits[i] = 1;
    std::vector<int32_t> order(size);
    for (size_t i = 0; i < size; ++i) order[i] = static_cast<int32_t>(i);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
    for (const int32_t top : {0, 1, 5, 20}) {
      const int32_t token = static_cast<int32_t>(size / 2);
      const Logprobs got = LogprobsOf(logits, token, top);
      ASSERT_EQ(got.chosen.size(), 1u);
      EXPECT_NEAR(got.chosen[0], Logprob(logits, token), 1e-5);
      ASSERT_EQ(got.tokens.size(), std::min<size_t>(top, size));
      ASSERT_EQ(got.top.size(), got.tokens.size());
      for (size_t i = 0; i < got.tokens.size(); ++i) {
        EXPECT_EQ(got.tokens[i], order[i]) << "size " << size << " rank " << i;
        EXPECT_NEAR(got.top[i], Logprob(logits, order[i]), 1e-5);
      }
    }
  }
}

TEST_P(LogprobsTest, EveryNumberIsFinite) {
  std::vector<float> logits(50, -kInfinity);
  logits[9] = 3;
  logits[4] = -2e4f;
  const Logprobs got = LogprobsOf(logits, 7, 20);
  EXPECT_EQ(got.chosen[0], -9999);
  EXPECT_EQ(got.tokens[0], 9);
  EXPECT_EQ(got.top[0], 0);
  EXPECT_EQ(got.tokens[1], 4);
  for (size_t i = 1; i < got.top.size(); ++i) EXPECT_EQ(got.top[i], -9999);
  EXPECT_EQ(LogprobsOf({3e38f, -3e38f}, 1, 2).top[1], -9999);
}

std::vector<float> Adjusted(std::vector<float> logits, const LogitAdjustments& adjustments) {
  AdjustLogits(logits, adjustments);
  return logits;
}

TEST(LogitAdjustmentsTest, PenaltiesAreThoseOfVllm) {
  const std::vector<int32_t> tokens = {0, 2, 3, 4}, counts = {3, 0, 1, 2};
  LogitAdjustments adjustments;
  adjustments.seen_tokens = tokens;
  adjustments.seen_counts = counts;
  adjustments.repetition = 2;
  // every token that occurred: halved above 0, doubled below
  EXPECT_EQ(Adjusted({4, 4, 4, -4, 0}, adjustments), (std::vector<float>{2, 4, 2, -8, 0}));
  adjustments.repetition = 1;
  adjustments.presence = 0.5f;
  adjustments.frequency = 0.25f;
  // only what occurred in the answer
  EXPECT_EQ(Adjusted({4, 4, 4, -4, 0}, adjustments), (std::vector<float>{2.75f, 4, 4, -4.75f, -1}));
  adjustments.repetition = 2;
  EXPECT_EQ(Adjusted({4, 4, 4, -4, 0}, adjustments), (std::vector<float>{0.75f, 4, 2, -8.75f, -1}));
}

TEST(LogitAdjustmentsTest, BiasIsAddedAndForbids) {
  const std::vector<int32_t> tokens = {1, 2, 4};
  const std::vector<float> values = {100, -100, -kInfinity};
  LogitAdjustments adjustments;
  adjustments.bias_tokens = tokens;
  adjustments.bias_values = values;
  EXPECT_EQ(Adjusted({1, 1, 1, 1, 1}, adjustments), (std::vector<float>{1, 101, -99, 1, -kInfinity}));
}

TEST(LogitAdjustmentsTest, MasksForbidWhatTheyDoNotName) {
  testing::Rng rng(9);
  for (const size_t size : {1, 31, 32, 33, 64, 200}) {
    std::vector<uint32_t> bits((size + 31) / 32);
    for (uint32_t& word : bits) word = static_cast<uint32_t>(rng() * 7919);
    if (bits.size() > 2) bits[0] = ~0u, bits[1] = 0;
    LogitAdjustments adjustments;
    adjustments.allowed = bits;
    const auto logits = testing::Gaussian(rng, size, 1);
    const auto masked = Adjusted(logits, adjustments);
    for (size_t i = 0; i < size; ++i)
      EXPECT_EQ(masked[i], (bits[i / 32] >> (i % 32) & 1) != 0 ? logits[i] : -kInfinity) << size << " " << i;
  }
}

TEST(LogitAdjustmentsTest, NothingOverflowsAndForbiddenStaysForbidden) {
  const std::vector<int32_t> tokens = {0, 1, 2};
  const std::vector<float> values = {1e6f, -1e6f, 100};
  const std::vector<int32_t> counts = {1, 1, 1};
  const std::vector<uint32_t> allowed = {3};
  const LogitAdjustments adjustments{allowed, tokens, values, tokens, counts, 1e-3f, -1000, -1000};
  const auto got = Adjusted({3.4e38f, -3.4e38f, 5}, adjustments);
  EXPECT_TRUE(std::isfinite(got[0]) && std::isfinite(got[1]));
  EXPECT_EQ(got[2], -kInfinity);
  EXPECT_EQ(Sample(got, {1, 1, 0, 1, 0}), 0);
}

TEST_P(SamplingTest, LogitsThatAreNoNumbersAreErrors) {
  for (const float bad : {static_cast<float>(NAN), kInfinity}) {
    for (size_t at : {size_t{0}, size_t{17}, size_t{36}}) {
      std::vector<float> logits(37, 1);
      logits[at] = bad;
      EXPECT_THROW(Sample(logits, {0, 1, 0, 1, 0}), Error);
      EXPECT_THROW(Sample(logits, {1, 1, 0, 1, 0}), Error);
    }
  }
  EXPECT_THROW(Sample(std::vector<float>(5, -kInfinity), {1, 1, 0, 1, 0}), Error);
  EXPECT_THROW(Sample({}, {1, 1, 0, 1, 0}), Error);
}

// KVCAPSULE_TEST_FULL: for longer.
TEST_P(SamplingTest, AnyBitsGiveAPossibleTokenOrAnError) {
  const int32_t rounds = std::getenv("KVCAPSULE_TEST_FULL") ? 200'000 : 4000;
  testing::Rng rng(31);
  const auto any = [&] { return std::bit_cast<float>(static_cast<uint32_t>(rng())); };
  int32_t drawn = 0;
  for (int32_t round = 0; round < rounds; ++round) {
    auto logits = testing::Gaussian(rng, testing::Between(rng, 1, 600), std::exp2(testing::Between(rng, -20, 20)));
    // bits of any kind, NaN and infinity among them, in some of them
    for (int32_t times = round % 2 * testing::Between(rng, 1, 4); times > 0; --times)
      logits[rng() % logits.size()] = round % 4 == 1 ? any() : -kInfinity;
    const SamplingParams params{any(), any(), static_cast<int32_t>(rng()), rng(), static_cast<int32_t>(rng()), any()};
    try {
      const int32_t token = Sample(logits, params);
      ASSERT_TRUE(token >= 0 && token < static_cast<int32_t>(logits.size()) && std::isfinite(logits[token]))
          << "round " << round << ": token " << token << " of " << logits.size();
      const Logprobs logprobs = LogprobsOf(logits, token, testing::Between(rng, 0, 20));
      for (const float value : logprobs.top) ASSERT_TRUE(std::isfinite(value)) << "round " << round;
      ++drawn;
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kEngineFailed);
    }
  }
  EXPECT_GT(drawn, rounds / 2);
}

// What one target makes of many rows, to the last bit.
std::vector<float> Outcomes(int64_t target) {
  const testing::UseTarget use(target);
  testing::Rng rng(12);
  std::vector<float> outcomes;
  for (const int64_t size : {1, 15, 16, 17, 63, 511, 513, 5003}) {
    const auto logits = testing::Gaussian(rng, size, 3);
    for (int32_t position = 0; position < 20; ++position) {
      for (const SamplingParams& params :
           {SamplingParams{0.8f, 1, 0, 5, position}, {1.2f, 0.9f, 0, 5, position}, {1, 0.7f, 40, 5, position},
            {1.5f, 1, 0, 5, position, 0.02f}})
        outcomes.push_back(static_cast<float>(Sample(logits, params)));
    }
    std::vector<float> weights(size);
    outcomes.push_back(static_cast<float>(Weigh(logits, logits[0], 0.5f, weights.data())));
    outcomes.insert(outcomes.end(), weights.begin(), weights.end());
    outcomes.push_back(static_cast<float>(DropBelow(weights, 0.5f)));
    const Logprobs logprobs = LogprobsOf(logits, 0, 20);
    outcomes.insert(outcomes.end(), logprobs.top.begin(), logprobs.top.end());
    outcomes.insert(outcomes.end(), logprobs.tokens.begin(), logprobs.tokens.end());
  }
  return outcomes;
}

TEST(SamplingTargetsTest, TargetsWithFusedMultiplyAddsGiveTheSameBits) {
  const int64_t fused = HWY_AVX2 | HWY_AVX3 | HWY_AVX3_DL | HWY_NEON;
  std::vector<std::vector<float>> all;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if ((target & fused) != 0) all.push_back(Outcomes(target));
  }
  for (const std::vector<float>& outcomes : all) EXPECT_EQ(outcomes, all[0]);
}

const auto kTargets = ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets());
constexpr auto kTargetName = [](const auto& param) { return hwy::TargetName(param.param); };
INSTANTIATE_TEST_SUITE_P(Targets, SamplingTest, kTargets, kTargetName);
INSTANTIATE_TEST_SUITE_P(Targets, TruncationTest, kTargets, kTargetName);
INSTANTIATE_TEST_SUITE_P(Targets, LogprobsTest, kTargets, kTargetName);

}  // namespace
}  // namespace kvcapsule
