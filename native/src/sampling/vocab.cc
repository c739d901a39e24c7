#include "sampling/vocab.h"

#include <algorithm>

#include "kvcapsule/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "sampling/vocab.cc"
#include <hwy/foreach_target.h>

#include "kv/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {
namespace {

constexpr int kVectors = kLanes / kWidth;
using IntTag = hn::RebindToSigned<FloatTag>;
using IntV = hn::Vec<IntTag>;

// 16 lanes, in as many registers as they take.
struct Lanes {
  FloatV v[kVectors];
};

template <class Make>
HWY_INLINE Lanes MakeLanes(Make make) {
  Lanes lanes;
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) lanes.v[j] = make(j * kWidth);
  return lanes;
}

HWY_INLINE void AddTo(Lanes& sum, const Lanes& more) {
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) sum.v[j] = hn::Add(sum.v[j], more.v[j]);
}

// Lane i with lane i + 8, then i + 4, i + 2, i + 1, on every target.
HWY_INLINE double SumOf(Lanes lanes) {
#pragma GCC unroll 4
  for (int half = kVectors / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) lanes.v[j] = hn::Add(lanes.v[j], lanes.v[j + half]);
  }
  return hn::GetLane(hn::SumOfLanes(FloatTag(), lanes.v[0]));
}

HWY_INLINE IntV Ids(size_t first) { return hn::Iota(IntTag(), static_cast<int32_t>(first)); }

// Unsound: NaN or +infinity.
bool ScanForPeak(std::span<const float> logits, Peak& peak) {
  const FloatTag d;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  FloatV top = Splat(-kInfinity);
  IntV top_at = hn::Zero(IntTag()), at = Ids(0);
  auto sound = hn::Eq(top, top);
  size_t i = 0;
  for (; i + kWidth <= logits.size(); i += kWidth, at = hn::Add(at, hn::Set(IntTag(), kWidth))) {
    const FloatV x = Load(logits.data() + i);
    const auto higher = hn::Gt(x, top);  // strict, so each lane keeps its lowest id
    sound = hn::And(sound, hn::Lt(x, Splat(kInfinity)));
    top = hn::IfThenElse(higher, x, top);
    top_at = hn::IfThenElse(hn::RebindMask(IntTag(), higher), at, top_at);
  }
  HWY_ALIGN float value[kWidth];
  HWY_ALIGN int32_t id[kWidth];
  Store(top, value);
  hn::Store(top_at, IntTag(), id);
  const auto better = [&](float x, int32_t token) {
    if (x > peak.value || (x == peak.value && token < peak.id)) peak = {token, x};
  };
  peak = {0, -kInfinity};
  for (int lane = 0; lane < kWidth; ++lane) better(value[lane], id[lane]);
  bool all_sound = hn::AllTrue(d, sound);
  for (; i < logits.size(); ++i) {
    all_sound &= logits[i] < kInfinity;
    better(logits[i], static_cast<int32_t>(i));
  }
  return all_sound;
}

double Weigh(std::span<const float> logits, float peak, float scale, float* weights) {
  constexpr size_t kStride = 4 * kLanes;  // one reduction for so many: it takes longer than the exponentials
  const auto exp = [&](FloatV x) { return Exp(hn::Mul(hn::Sub(x, Splat(peak)), Splat(scale))); };
  const auto weigh = [&](const float* from, float* to) {
    const Lanes lanes = MakeLanes([&](int lane) { return exp(Load(from + lane)); });
    for (int j = 0; to && j < kVectors; ++j) Store(lanes.v[j], to + j * kWidth);
    return lanes;
  };
  double sum = 0;
  size_t i = 0;
  const auto at = [&](size_t k) { return weights ? weights + k : nullptr; };
  for (; i + kStride <= logits.size(); i += kStride) {
    Lanes lanes = weigh(&logits[i], at(i));
    for (size_t k = i + kLanes; k < i + kStride; k += kLanes) AddTo(lanes, weigh(&logits[k], at(k)));
    sum += SumOf(lanes);
  }
  for (; i < logits.size(); i += kLanes) {
    const size_t count = std::min<size_t>(kLanes, logits.size() - i);
    HWY_ALIGN float rest[kLanes];
    std::fill(std::copy_n(&logits[i], count, rest), rest + kLanes, peak);
    weigh(rest, rest);
    for (size_t lane = 0; lane < count; ++lane) sum += rest[lane];
    if (weights) std::copy_n(rest, count, weights + i);
  }
  return sum;
}

double DropBelow(std::span<float> weights, float least) {
  double sum = 0;
  size_t i = 0;
  for (; i + kLanes <= weights.size(); i += kLanes) {
    const Lanes kept = MakeLanes([&](int lane) {
      const FloatV weight = Load(&weights[i] + lane);
      const FloatV left = hn::IfThenZeroElse(hn::Lt(weight, Splat(least)), weight);
      Store(left, &weights[i] + lane);
      return left;
    });
    sum += SumOf(kept);
  }
  for (; i < weights.size(); ++i) {
    if (weights[i] < least) weights[i] = 0;
    sum += weights[i];
  }
  return sum;
}

void BlockMaxima(std::span<const float> values, size_t block, float* maxima) {
  size_t begin = 0;
  for (; begin + block <= values.size(); begin += block) {
    FloatV largest = Load(&values[begin]);
    for (size_t i = begin + kWidth; i < begin + block; i += kWidth) largest = hn::Max(largest, Load(&values[i]));
    *maxima++ = hn::GetLane(hn::MaxOfLanes(FloatTag(), largest));
  }
  if (begin < values.size()) *maxima = *std::max_element(values.begin() + static_cast<int64_t>(begin), values.end());
}

double KeptSum(std::span<const float> logits, std::span<const float> weights, const Cut& cut, size_t begin,
               size_t end) {
  const bool all = cut.id == Cut().id && cut.logit == Cut().logit;
  const FloatV edge = Splat(cut.logit);
  const IntV last = hn::Set(IntTag(), cut.id), width = hn::Set(IntTag(), kWidth);
  IntV ids = Ids(begin);
  Lanes sum = MakeLanes([](int) { return hn::Zero(FloatTag()); });
  size_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    AddTo(sum, MakeLanes([&](int lane) {
      const FloatV weight = Load(&weights[i + lane]);
      if (all) return weight;
      const FloatV x = Load(&logits[i + lane]);
      const auto late = hn::RebindMask(FloatTag(), hn::Gt(ids, last));
      ids = hn::Add(ids, width);
      return hn::IfThenElseZero(hn::Or(hn::Gt(x, edge), hn::AndNot(late, hn::Eq(x, edge))), weight);
    }));
  }
  double total = SumOf(sum);
  for (; i < end; ++i) total += cut.Keeps(logits[i], static_cast<int32_t>(i)) ? weights[i] : 0;
  return total;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(ScanForPeak);
HWY_EXPORT(Weigh);
HWY_EXPORT(DropBelow);
HWY_EXPORT(BlockMaxima);
HWY_EXPORT(KeptSum);

Peak FindPeak(std::span<const float> logits) {
  Peak peak;
  if (!HWY_DYNAMIC_DISPATCH(ScanForPeak)(logits, peak))
    throw Error(ErrorCode::kEngineFailed, "the model returned logits that are not numbers");
  if (peak.value == -std::numeric_limits<float>::infinity())
    throw Error(ErrorCode::kEngineFailed, "the model returned no finite logit");
  return peak;
}

double Weigh(std::span<const float> logits, float peak, float scale, float* weights) {
  return HWY_DYNAMIC_DISPATCH(Weigh)(logits, peak, scale, weights);
}

double DropBelow(std::span<float> weights, float least) { return HWY_DYNAMIC_DISPATCH(DropBelow)(weights, least); }

void BlockMaxima(std::span<const float> values, size_t block, std::vector<float>& maxima) {
  maxima.resize((values.size() + block - 1) / block);
  HWY_DYNAMIC_DISPATCH(BlockMaxima)(values, block, maxima.data());
}

double KeptSums(std::span<const float> logits, std::span<const float> weights, const Cut& cut,
                std::vector<double>& sums) {
  sums.clear();
  double total = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kSumBlock) {
    const size_t end = std::min(begin + kSumBlock, logits.size());
    sums.push_back(HWY_DYNAMIC_DISPATCH(KeptSum)(logits, weights, cut, begin, end));
    total += sums.back();
  }
  return total;
}

}  // namespace kvcapsule
#endif
