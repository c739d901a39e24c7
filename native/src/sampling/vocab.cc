#include "sampling/vocab.h"

#include <limits>

#include "kv/simd.h"
#include "kvcapsule/error.h"
#include "sampling/simd.h"

namespace kvcapsule {
namespace {

using sampling::FloatV, sampling::IntV, sampling::LoadV, sampling::SetV, sampling::StoreV;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void Better(Peak& peak, float value, int32_t id) {
  if (value > peak.value || (value == peak.value && id < peak.id)) peak = {id, value};
}

}  // namespace

Peak FindPeak(std::span<const float> logits) {
  FloatV top = SetV(-kInfinity);
  IntV top_at = {}, at = {}, unsound = {};
  for (int lane = 0; lane < sampling::kLanes; ++lane) at[lane] = lane;
  size_t i = 0;
  for (; i + sampling::kLanes <= logits.size(); i += sampling::kLanes, at += sampling::kLanes) {
    const FloatV x = LoadV(logits.data() + i);
    const IntV higher = x > top;        // strict, so each lane keeps its lowest id
    unsound |= ~(x < SetV(kInfinity));  // true for NaN as well
    top = higher ? x : top;
    top_at = higher ? at : top_at;
  }
  Peak peak{0, -kInfinity};
  bool sound = true;
  for (int lane = 0; lane < sampling::kLanes; ++lane) {
    sound &= unsound[lane] == 0;
    Better(peak, top[lane], top_at[lane]);
  }
  for (; i < logits.size(); ++i) {
    sound &= logits[i] < kInfinity;
    Better(peak, logits[i], static_cast<int32_t>(i));
  }
  if (!sound) throw Error(ErrorCode::kEngineFailed, "the model returned logits that are not numbers");
  if (peak.value == -kInfinity) throw Error(ErrorCode::kEngineFailed, "the model returned no finite logit");
  return peak;
}

double Weigh(std::span<const float> logits, float peak, float scale, float* weights) {
  return ExpWeights(logits, peak, scale, weights);
}

}  // namespace kvcapsule
