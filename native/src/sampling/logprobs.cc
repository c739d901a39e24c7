#include "sampling/logprobs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "sampling/vocab.h"

namespace kvcapsule {
namespace {

// The likeliest tokens so far, likeliest first.
class TopList {
 public:
  explicit TopList(size_t most) : most_(most) {}

  // What a logit must pass to enter.
  float bar() const {
    return size_ < most_ ? -std::numeric_limits<float>::infinity() : items_[size_ - 1].value;
  }

  // Ids must come in rising order: of equal logits the first stays in front.
  void Add(float value, int32_t id) {
    if (size_ == most_ && !(value > bar())) return;
    size_t at = size_ < most_ ? size_++ : size_ - 1;
    for (; at > 0 && value > items_[at - 1].value; --at) items_[at] = items_[at - 1];
    items_[at] = {id, value};
  }

  std::span<const Peak> items() const { return {items_.data(), size_}; }

 private:
  std::array<Peak, kMaxTopLogprobs> items_;
  const size_t most_;
  size_t size_ = 0;
};

TopList FindTop(std::span<const float> logits, int32_t top) {
  constexpr size_t kBlock = 64;
  thread_local std::vector<float> maxima;
  BlockMaxima(logits, kBlock, maxima);
  TopList list(std::min<size_t>(top, kMaxTopLogprobs));
  for (size_t block = 0; block < maxima.size(); ++block) {
    // most blocks hold nothing that enters, and their maximum says so
    if (block > 0 && !(maxima[block] > list.bar())) continue;
    const size_t end = std::min((block + 1) * kBlock, logits.size());
    for (size_t i = block * kBlock; i < end; ++i) list.Add(logits[i], static_cast<int32_t>(i));
  }
  return list;
}

}  // namespace

void AppendLogprobs(std::span<const float> logits, int32_t token, int32_t top, std::vector<float>& logprobs,
                    std::vector<int32_t>& top_tokens, std::vector<float>& top_logprobs) {
  const Peak peak = FindPeak(logits);
  const double log_sum = std::log(Weigh(logits, peak.value, 1, nullptr));
  const auto logprob = [&](float logit) {
    const double value = static_cast<double>(logit) - peak.value - log_sum;
    return static_cast<float>(std::max<double>(value, kImpossibleLogprob));
  };
  logprobs.push_back(logprob(logits[token]));
  if (top <= 0) return;
  const TopList list = FindTop(logits, top);
  for (const Peak& item : list.items()) {
    top_tokens.push_back(item.id);
    top_logprobs.push_back(logprob(item.value));
  }
}

}  // namespace kvcapsule
