#include "sampling/sampler.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "sampling/truncation.h"
#include "sampling/vocab.h"

namespace kvcapsule {
namespace {

constexpr float kGreedyBelow = 1e-5f;

// The first kept id, in their order, at which the running sum passes a share `uniform` of it all; the last
// one with weight where rounding leaves none. Sums blocks first, so that one id at a time is looked at in one
// of them only.
int32_t Draw(std::span<const float> logits, const std::vector<float>& weights, const Cut& cut,
             double uniform) {
  thread_local std::vector<double> sums;
  const double total = KeptSums(logits, weights, cut, sums);
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
  for (size_t i = chosen * kSumBlock; i < std::min((chosen + 1) * kSumBlock, logits.size()); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (weights[i] <= 0 || !cut.Keeps(logits[i], id)) continue;
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
  // The peak's own weight is 1.
  if (params.min_p > 0) total = DropBelow(weights, std::min(params.min_p, 1.0f));
  const double uniform = CounterUniform(params.seed, static_cast<uint32_t>(params.position));
  Cut cut;
  if (params.top_k > 0 || params.top_p < 1) cut = FindCut(logits, weights, total, params.top_k, params.top_p);
  return Draw(logits, weights, cut, uniform);
}

}  // namespace kvcapsule
