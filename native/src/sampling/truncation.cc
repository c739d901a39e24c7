#include "sampling/truncation.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <vector>

namespace kvcapsule {
namespace {

// Candidates as one word each, falling logit above rising id, so that sorting needs no look-ups.
using Keys = std::vector<uint64_t>;

uint64_t KeyOf(float logit, size_t id) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 and 0 are a tie
  const uint32_t falling = bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
  return static_cast<uint64_t>(falling) << 32 | static_cast<uint32_t>(id);
}

int32_t IdOf(uint64_t key) { return static_cast<int32_t>(key & 0xffffffffu); }

// A value that at least k of the values reach, near the k-th largest: of k blocks each has one above the k-th
// largest of the blocks' maxima.
float BarOf(std::span<const float> maxima, size_t k) {
  if (k > maxima.size()) return -std::numeric_limits<float>::infinity();
  thread_local std::vector<float> order;
  order.assign(maxima.begin(), maxima.end());
  const auto kth = order.begin() + static_cast<std::ptrdiff_t>(k) - 1;
  std::nth_element(order.begin(), kth, order.end(), std::greater<>());
  return *kth;
}

// Keys of the tokens whose value reaches the bar. Most blocks hold none, and their maximum says so.
void Gather(std::span<const float> values, std::span<const float> maxima, size_t block, float bar,
            std::span<const float> logits, Keys& keys) {
  keys.clear();
  for (size_t i = 0; i < maxima.size(); ++i) {
    if (maxima[i] < bar) continue;
    const size_t end = std::min((i + 1) * block, values.size());
    for (size_t id = i * block; id < end; ++id) {
      if (values[id] >= bar) keys.push_back(KeyOf(logits[id], id));
    }
  }
}

double SumOf(const Keys& keys, size_t begin, size_t end, std::span<const float> weights) {
  double sum = 0;
  for (size_t i = begin; i < end; ++i) sum += weights[IdOf(keys[i])];
  return sum;
}

// The key at which the weights, in order, reach `wanted`. Halves the candidates instead of sorting them all.
uint64_t CrossingKey(Keys& keys, std::span<const float> weights, double wanted) {
  size_t low = 0, high = keys.size();
  double sum = 0;  // of those before low: not yet enough
  const auto at = [&](size_t i) { return keys.begin() + static_cast<std::ptrdiff_t>(i); };
  while (high - low > 64) {
    const size_t middle = low + (high - low) / 2;
    std::nth_element(at(low), at(middle), at(high));
    const double with = sum + SumOf(keys, low, middle, weights);
    if (with >= wanted) {
      high = middle;
    } else {
      sum = with;
      low = middle;
    }
  }
  std::sort(at(low), at(high));
  size_t last = low;
  while ((sum += weights[IdOf(keys[last])]) < wanted && last + 1 < high) ++last;
  return keys[last];
}

}  // namespace

Cut FindCut(std::span<const float> logits, std::span<const float> weights, double total, int32_t top_k,
            float top_p) {
  thread_local Keys keys;
  thread_local std::vector<float> maxima;
  constexpr size_t kBlock = 64, kSmallBlock = 16;
  uint64_t last;
  if (top_k > 0 && static_cast<size_t>(top_k) < logits.size()) {
    const size_t k = top_k;
    const size_t block = 4 * k * kBlock <= logits.size() ? kBlock : kSmallBlock;
    BlockMaxima(logits, block, maxima);
    Gather(logits, maxima, block, BarOf(maxima, k), logits, keys);
    const auto kth = keys.begin() + static_cast<std::ptrdiff_t>(k) - 1;
    std::nth_element(keys.begin(), kth, keys.end());
    last = *kth;
    keys.resize(k);
    total = SumOf(keys, 0, k, weights);
  } else {
    if (!(top_p < 1)) return {};
    // A token needs a weight of (1 - top_p) / n of all: were a lighter one kept, it and all that follow would
    // weigh less than 1 - top_p together, so the set was complete before it.
    const double n = static_cast<double>(logits.size());
    BlockMaxima(weights, kBlock, maxima);
    Gather(weights, maxima, kBlock, static_cast<float>((1 - top_p) * total / n * 0.999), logits, keys);
  }
  if (top_p < 1) last = CrossingKey(keys, weights, top_p * total);
  return {logits[IdOf(last)], IdOf(last)};
}

}  // namespace kvcapsule
