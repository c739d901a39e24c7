// Log-probabilities of the raw distribution: before bias, penalties, temperature and truncation.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace kvcapsule {

// In the place of minus infinity, which JSON cannot hold (field case F23).
inline constexpr float kImpossibleLogprob = -9999;
inline constexpr int32_t kMaxTopLogprobs = 20;

// Appends the log-probability of `token` to `logprobs`, and the `top` likeliest tokens with theirs, likeliest
// first (ties: lower id first), to `top_tokens` and `top_logprobs`; as many as the vocabulary has where that
// is fewer. All are finite. NaN logits: throws Error(kEngineFailed).
void AppendLogprobs(std::span<const float> logits, int32_t token, int32_t top, std::vector<float>& logprobs,
                    std::vector<int32_t>& top_tokens, std::vector<float>& top_logprobs);

}  // namespace kvcapsule
