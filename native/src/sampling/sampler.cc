#include "sampling/sampler.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "sampling/simd.h"
#include "sampling/truncation.h"
#include "sampling/vocab.h"

namespace kvcapsule {
namespace {

using namespace sampling;

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

// The weights of what is kept; 0 in the place of others.
KVC_INLINE FloatV Kept(FloatV logits, FloatV weights, IntV ids, const Cut& cut) {
  const IntV kept = (logits > SetV(cut.logit)) | ((logits == SetV(cut.logit)) & (ids <= cut.id));
  return kept ? weights : FloatV{};
}

bool Keeps(const Cut& cut, float logit, int32_t id) {
  return logit > cut.logit || (logit == cut.logit && id <= cut.id);
}

// The first kept id, in their order, at which the running sum passes a share `uniform` of it all; the last
// one with weight where rounding leaves none. Sums blocks first, so that one id at a time is looked at in one
// of them only.
int32_t Draw(std::span<const float> logits, const std::vector<float>& weights, const Cut& cut,
             double uniform) {
  constexpr size_t kBlock = 32 * kLanes;
  thread_local std::vector<double> sums;
  sums.clear();
  IntV lanes;
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = lane;
  double total = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, logits.size());
    FloatV sum = {};
    size_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      sum += Kept(LoadV(logits.data() + i), LoadV(weights.data() + i), lanes + static_cast<int32_t>(i), cut);
    double block = SumV(sum);
    for (; i < end; ++i) block += Keeps(cut, logits[i], static_cast<int32_t>(i)) ? weights[i] : 0;
    sums.push_back(block);
    total += block;
  }
  const double target = uniform * total;
  double before = 0, after = 0;  // of the blocks before the chosen one, and with it
  size_t chosen = 0;
  for (size_t block = 0; block < sums.size(); ++block) {
    if (sums[block] <= 0) continue;
    chosen = block;
    before = after;
    after += sums[block];
    if (after > target) break;
  }
  int32_t last = 0;
  for (size_t i = chosen * kBlock; i < std::min((chosen + 1) * kBlock, logits.size()); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (weights[i] <= 0 || !Keeps(cut, logits[i], id)) continue;
    last = id;
    before += weights[i];
    if (before > target) break;
  }
  return last;
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
  Cut cut;
  if (params.top_k > 0 || params.top_p < 1) cut = FindCut(logits, weights, total, params.top_k, params.top_p);
  return Draw(logits, weights, cut, uniform);
}

}  // namespace kvcapsule
