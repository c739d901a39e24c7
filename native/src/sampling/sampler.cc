#include "sampling/sampler.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "kv/simd.h"
#include "sampling/vocab.h"

namespace kvcapsule {
namespace {

constexpr float kGreedyBelow = 1e-5f;

// Weights below min_p of the peak's become 0; returns the sum of the others. The peak's own weight is 1.
double DropUnlikely(std::vector<float>& weights, float min_p) {
  double sum = 0;
  size_t i = 0;
  for (; i + kLanes <= weights.size(); i += kLanes) {
    const FloatV weight = LoadV(weights.data() + i);
    const FloatV kept = weight < SetV(min_p) ? FloatV{} : weight;
    StoreV(weights.data() + i, kept);
    sum += SumV(kept);
  }
  for (; i < weights.size(); ++i) {
    if (weights[i] < min_p) weights[i] = 0;
    sum += weights[i];
  }
  return sum;
}

// Candidates in falling order of logit (ties: lower id first), sorted only as far as anyone looks. A
// candidate is one word, logit above id, so that sorting needs no look-ups: three times as fast.
class Ranking {
 public:
  void Add(float logit, int32_t id) {
    const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 and 0 are a tie
    const uint32_t falling = bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
    keys_.push_back(static_cast<uint64_t>(falling) << 32 | static_cast<uint32_t>(id));
  }
  size_t size() const { return keys_.size(); }
  int32_t operator[](size_t rank) {
    if (rank >= sorted_) Extend(rank + 1);
    return static_cast<int32_t>(keys_[rank] & 0xffffffffu);
  }

 private:
  void Extend(size_t least) {
    const size_t end = std::min(keys_.size(), std::max<size_t>(4 * sorted_, std::max<size_t>(least, 64)));
    const auto from = keys_.begin() + static_cast<std::ptrdiff_t>(sorted_),
               to = keys_.begin() + static_cast<std::ptrdiff_t>(end);
    if (end < keys_.size()) std::nth_element(from, to - 1, keys_.end());
    std::sort(from, to);
    sorted_ = end;
  }

  std::vector<uint64_t> keys_;
  size_t sorted_ = 0;
};

// Candidates for top-p alone need a weight of (1 - top_p) / n of all: were a lighter one inside the set, it
// and all that follow would weigh less than 1 - top_p together, so the set was complete before it.
Ranking Rank(std::span<const float> logits, const SamplingParams& params, const std::vector<float>& weights,
             double total) {
  const double n = static_cast<double>(logits.size());
  const auto of_top_p = params.top_k > 0 ? 0.0f : static_cast<float>((1 - params.top_p) * total / n * 0.999);
  const float least = std::max(of_top_p, std::min(params.min_p, 1.0f));
  Ranking ranking;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (weights[i] >= least) ranking.Add(logits[i], static_cast<int32_t>(i));
  }
  return ranking;
}

// The first id at which the running sum passes target; the last one with weight where rounding leaves none.
template <class IdAt>
int32_t Draw(size_t count, const std::vector<float>& weights, double target, IdAt id_at) {
  double sum = 0;
  int32_t last = id_at(0);
  for (size_t i = 0; i < count; ++i) {
    const int32_t id = id_at(i);
    if (weights[id] <= 0) continue;
    last = id;
    sum += weights[id];
    if (sum > target) break;
  }
  return last;
}

int32_t DrawTruncated(std::span<const float> logits, const SamplingParams& params,
                      const std::vector<float>& weights, double total, double uniform) {
  Ranking ranking = Rank(logits, params, weights, total);
  size_t kept = ranking.size();
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < kept) {
    kept = params.top_k;
    total = 0;
    for (size_t i = 0; i < kept; ++i) total += weights[ranking[i]];
  }
  if (params.top_p < 1) {
    // The smallest set whose share reaches top_p: the token that crosses it belongs to it.
    const double wanted = params.top_p * total;
    double sum = 0;
    size_t count = 0;
    do {
      sum += weights[ranking[count++]];
    } while (count < kept && sum < wanted);
    kept = count;
    total = sum;
  }
  return Draw(kept, weights, uniform * total, [&](size_t i) { return ranking[i]; });
}

}  // namespace

double CounterUniform(uint64_t seed, uint32_t position) {
  uint32_t counter[4] = {position, 0, 0, 0};
  uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = 0xD2511F53ULL * counter[0], b = 0xCD9E8D57ULL * counter[2];
    const uint32_t next[4] = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
                              static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    std::copy(next, next + 4, counter);
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return ((counter[0] >> 5) * 67108864.0 + (counter[1] >> 6)) / 9007199254740992.0;
}

int32_t Sample(std::span<const float> logits, const SamplingParams& params) {
  const Peak peak = FindPeak(logits);
  // Written so that NaN parameters are greedy as well.
  if (!(params.temperature >= kGreedyBelow && params.top_p > 0) || params.top_k == 1) return peak.id;
  thread_local std::vector<float> weights;
  weights.resize(logits.size());
  // Never 0: an infinite temperature still must not turn a masked logit (-infinity) into 0 * infinity.
  const float scale = std::max(1 / params.temperature, std::numeric_limits<float>::min());
  double total = Weigh(logits, peak.value, scale, weights.data());
  if (params.min_p > 0) total = DropUnlikely(weights, std::min(params.min_p, 1.0f));
  const double uniform = CounterUniform(params.seed, static_cast<uint32_t>(params.position));
  if (params.top_k > 0 || params.top_p < 1) return DrawTruncated(logits, params, weights, total, uniform);
  return Draw(logits.size(), weights, uniform * total, [](size_t i) { return static_cast<int32_t>(i); });
}

}  // namespace kvcapsule
