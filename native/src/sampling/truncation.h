// Which tokens top-k and top-p keep.
#pragma once
#include <cstdint>
#include <span>

#include "sampling/vocab.h"

namespace kvcapsule {

// The top_k likeliest tokens (0: all), and of those the fewest whose weights reach a share top_p of their
// sum: the token that crosses it belongs to them. weights: [vocab], rising with the logits, `total` their
// sum. Candidates are halved, not sorted: the time grows with the vocabulary alone.
Cut FindCut(std::span<const float> logits, std::span<const float> weights, double total, int32_t top_k,
            float top_p);

}  // namespace kvcapsule
