#include "model/step_sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "model/plan_require.h"
#include "sampling/logit_adjustments.h"
#include "sampling/logprobs.h"
#include "sampling/sampler.h"

namespace kvcapsule {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Far beyond any use; with them no logit can overflow twice over.
constexpr float kMaxBias = 1e6f, kMaxPenalty = 1e3f;

size_t MaskWords(int32_t vocab) { return (static_cast<size_t>(vocab) + 31) / 32; }

void CheckUsers(const std::string& name, std::span<const int32_t> samples, size_t all) {
  for (size_t i = 0; i < samples.size(); ++i) {
    Require(samples[i] >= 0 && static_cast<size_t>(samples[i]) < all,
            At((name + ".samples").c_str(), i) + "is not a sample");
    Require(i == 0 || samples[i] > samples[i - 1],
            At((name + ".samples").c_str(), i) + "is not above the one before");
  }
}

// Offsets that cut `size` entries into one stretch for each of n users.
void CheckOffsets(const std::string& name, std::span<const int32_t> offsets, size_t n, size_t size) {
  const size_t wanted = n == 0 && offsets.empty() ? 0 : n + 1;
  Require(offsets.size() == wanted, name + ".offsets and " + name + ".samples differ in length");
  const bool whole =
      offsets.empty() ? size == 0 : offsets.front() == 0 && static_cast<size_t>(offsets.back()) == size;
  Require(whole, name + ".offsets do not cover its tokens");
  for (size_t i = 1; i < offsets.size(); ++i)
    Require(offsets[i] >= offsets[i - 1], At((name + ".offsets").c_str(), i) + "is below the one before");
}

void CheckPenalties(const SampleFeatures::Penalties& penalties, size_t samples, int32_t vocab) {
  CheckUsers("penalties", penalties.samples, samples);
  CheckOffsets("penalties", penalties.offsets, penalties.samples.size(), penalties.tokens.size());
  Require(penalties.factors.size() == 3 * penalties.samples.size() &&
              penalties.counts.size() == penalties.tokens.size(),
          "penalty arrays differ in length");
  for (size_t i = 0; i < penalties.factors.size(); ++i) {
    const float factor = penalties.factors[i];
    const bool fits =
        i % 3 == 2 ? factor >= 1 / kMaxPenalty && factor <= kMaxPenalty : std::fabs(factor) <= kMaxPenalty;
    Require(fits, At("penalties.factors", i) + "is out of range");
  }
  for (size_t i = 0; i < penalties.tokens.size(); ++i) {
    Require(penalties.tokens[i] >= 0 && penalties.tokens[i] < vocab,
            At("penalties.tokens", i) + "is outside the vocabulary");
    Require(penalties.counts[i] >= 0, At("penalties.counts", i) + "is negative");
  }
}

void CheckBias(const SampleFeatures::Bias& bias, size_t samples, int32_t vocab) {
  CheckUsers("bias", bias.samples, samples);
  CheckOffsets("bias", bias.offsets, bias.samples.size(), bias.tokens.size());
  Require(bias.values.size() == bias.tokens.size(), "bias arrays differ in length");
  for (size_t user = 0; user < bias.samples.size(); ++user) {
    for (int32_t i = bias.offsets[user]; i < bias.offsets[user + 1]; ++i) {
      Require(bias.tokens[i] >= 0 && bias.tokens[i] < vocab,
              At("bias.tokens", i) + "is outside the vocabulary");
      Require(i == bias.offsets[user] || bias.tokens[i] > bias.tokens[i - 1],
              At("bias.tokens", i) + "is not above the one before");
      Require(bias.values[i] == -kInfinity || std::fabs(bias.values[i]) <= kMaxBias,
              At("bias.values", i) + "is out of range");
    }
  }
}

// One sample's part of the sparse arrays; moves on to the sample that is asked for, so ask in rising order.
class FeatureCursor {
 public:
  FeatureCursor(const SampleFeatures& features, int32_t vocab)
      : features_(features), mask_words_(MaskWords(vocab)) {}

  LogitAdjustments At(int32_t sample) {
    LogitAdjustments adjustments;
    const auto& [penalized, factors, seen_offsets, seen, counts] = features_.penalties;
    if (penalty_ < penalized.size() && penalized[penalty_] == sample) {
      const int32_t begin = seen_offsets[penalty_], size = seen_offsets[penalty_ + 1] - begin;
      adjustments.presence = factors[3 * penalty_];
      adjustments.frequency = factors[3 * penalty_ + 1];
      adjustments.repetition = factors[3 * penalty_ + 2];
      adjustments.seen_tokens = seen.subspan(begin, size);
      adjustments.seen_counts = counts.subspan(begin, size);
      ++penalty_;
    }
    const auto& [biased, offsets, tokens, values] = features_.bias;
    if (bias_ < biased.size() && biased[bias_] == sample) {
      const int32_t begin = offsets[bias_], size = offsets[bias_ + 1] - begin;
      adjustments.bias_tokens = tokens.subspan(begin, size);
      adjustments.bias_values = values.subspan(begin, size);
      ++bias_;
    }
    const auto& [masked, bits] = features_.masks;
    if (mask_ < masked.size() && masked[mask_] == sample)
      adjustments.allowed = bits.subspan(mask_words_ * mask_++, mask_words_);
    return adjustments;
  }

 private:
  const SampleFeatures& features_;
  const size_t mask_words_;
  size_t penalty_ = 0, bias_ = 0, mask_ = 0;
};

bool Allows(std::span<const uint32_t> bits, int32_t token) {
  return bits.empty() || (bits[token / 32] >> (token % 32) & 1) != 0;
}

struct CountedTokens {
  std::vector<int32_t> tokens, counts;
};

// Lets the penalties see one more token of the answer. The returned arrays are what they look at after that.
CountedTokens CountAlso(int32_t token, LogitAdjustments& adjustments) {
  const std::span<const int32_t> seen = adjustments.seen_tokens, counts = adjustments.seen_counts;
  CountedTokens all{{seen.begin(), seen.end()}, {counts.begin(), counts.end()}};
  const auto place = std::find(all.tokens.begin(), all.tokens.end(), token) - all.tokens.begin();
  if (place == std::ssize(all.tokens)) {
    all.tokens.push_back(token);
    all.counts.push_back(0);
  }
  ++all.counts[place];
  adjustments.seen_tokens = all.tokens;
  adjustments.seen_counts = all.counts;
  return all;
}

int64_t TokensLeft(const LogitAdjustments& adjustments, int32_t vocab) {
  int64_t left = vocab;
  if (!adjustments.allowed.empty()) {
    left = 0;
    for (const uint32_t word : adjustments.allowed) left += std::popcount(word);
    for (int32_t token = vocab; token % 32 != 0; ++token) left -= Allows(adjustments.allowed, token);
  }
  for (size_t i = 0; i < adjustments.bias_tokens.size(); ++i)
    left -=
        adjustments.bias_values[i] == -kInfinity && Allows(adjustments.allowed, adjustments.bias_tokens[i]);
  return left;
}

void CheckFeatures(const SampleFeatures& features, size_t samples, int32_t vocab) {
  Require(features.min_p.empty() || features.min_p.size() == samples, "min_p and samples differ in length");
  for (size_t i = 0; i < features.min_p.size(); ++i)
    Require(features.min_p[i] >= 0 && features.min_p[i] <= 1, At("min_p", i) + "is out of range");
  Require(features.top_logprobs.empty() || features.top_logprobs.size() == samples,
          "top_logprobs and samples differ in length");
  for (size_t i = 0; i < features.top_logprobs.size(); ++i)
    Require(features.top_logprobs[i] >= -1 && features.top_logprobs[i] <= kMaxTopLogprobs,
            At("top_logprobs", i) + "is out of range");
  CheckPenalties(features.penalties, samples, vocab);
  CheckBias(features.bias, samples, vocab);
  CheckUsers("masks", features.masks.samples, samples);
  Require(features.masks.bits.size() == features.masks.samples.size() * MaskWords(vocab),
          "masks.bits is not a row for each of its samples");
  if (features.masks.samples.empty() && features.bias.samples.empty()) return;
  FeatureCursor cursor(features, vocab);
  for (size_t i = 0; i < samples; ++i)
    Require(TokensLeft(cursor.At(static_cast<int32_t>(i)), vocab) > 0,
            At("samples", i) + "may draw no token");
}

}  // namespace

void CheckSampling(const StepPlan& plan, int32_t vocab) {
  const size_t count = plan.samples.size();
  Require(plan.temperature.size() == count && plan.top_p.size() == count && plan.top_k.size() == count &&
              plan.seed.size() == count,
          "sampling arrays and samples differ in length");
  for (size_t i = 0; i < count; ++i) {
    const int32_t row = plan.samples[i];
    Require(row >= 0 && static_cast<size_t>(row) < plan.tokens.size(), At("samples", i) + "is not a row");
    Require(i == 0 || row > plan.samples[i - 1], At("samples", i) + "is not above the one before");
    Require(std::isfinite(plan.temperature[i]) && plan.temperature[i] >= 0,
            At("temperature", i) + "is out of range");
    Require(plan.top_p[i] > 0 && plan.top_p[i] <= 1, At("top_p", i) + "is out of range");
    Require(plan.top_k[i] >= 0, At("top_k", i) + "is out of range");
  }
  CheckFeatures(plan.features, count, vocab);
}

void SampleRows(const StepPlan& plan, std::span<const int32_t> filled, std::span<const float> logits,
                int32_t vocab, StepResult& result) {
  const SampleFeatures& features = plan.features;
  FeatureCursor cursor(features, vocab);
  std::vector<float> adjusted;
  for (size_t i = 0; i < plan.samples.size(); ++i) {
    const std::span<const float> raw = logits.subspan(i * vocab, vocab);
    SamplingParams params;
    params.temperature = plan.temperature[i];
    params.top_p = plan.top_p[i];
    params.top_k = plan.top_k[i];
    params.seed = plan.seed[i];
    params.position = plan.positions[plan.samples[i]] + 1;
    if (!features.min_p.empty()) params.min_p = features.min_p[i];
    LogitAdjustments adjustments = cursor.At(static_cast<int32_t>(i));
    CountedTokens counted;
    const int32_t row = plan.samples[i];
    if (plan.tokens[row] == kTokenDrawnBefore && adjustments.penalizes())
      counted = CountAlso(filled[row], adjustments);
    int32_t token;
    if (adjustments.empty()) {
      token = Sample(raw, params);
    } else {
      adjusted.assign(raw.begin(), raw.end());
      AdjustLogits(adjusted, adjustments);
      token = Sample(adjusted, params);
    }
    result.tokens.push_back(token);
    if (features.top_logprobs.empty()) continue;
    if (features.top_logprobs[i] < 0) {
      result.logprobs.push_back(0);
    } else {
      AppendLogprobs(raw, token, features.top_logprobs[i], result.logprobs, result.top_tokens,
                     result.top_logprobs);
    }
  }
}

}  // namespace kvcapsule
