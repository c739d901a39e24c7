#include "kv/codec/packed/row_code.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kv/codec/packed/row_code.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {
namespace {

// Fields of a code, highest first.
template <class Visit>
HWY_INLINE void VisitFields(int32_t bits, Visit visit) {
  for (const int32_t width : {8, 4, 2, 1}) {
    if (bits & width) visit(width, bits & (width - 1));
  }
}

// Plain loops that the compiler turns into vectors of each target.
void EncodeRow(const float* row, float scale, int32_t bits, int32_t dim, uint8_t* codes) {
  const float step = scale * GaussianStep(bits), top = static_cast<float>((1 << bits) - 1);
  const float inverse = step > 0 ? 1 / step : 0, middle = 0.5f * top + 0.5f;
  thread_local std::array<uint8_t, 4096> all;  // head_dim is at most 4096
  for (int32_t c = 0; c < dim; ++c)
    all[c] = static_cast<uint8_t>(std::clamp(row[c] * inverse + middle, 0.0f, top));
  VisitFields(bits, [&](int32_t width, int32_t shift) {
    const int32_t bytes = dim * width / 8;
    const uint32_t mask = (1u << width) - 1;
    std::memset(codes, 0, bytes);
    for (int32_t slot = 0; slot < 8 / width; ++slot) {
      const uint8_t* from = all.data() + slot * bytes;
      for (int32_t j = 0; j < bytes; ++j)
        codes[j] = static_cast<uint8_t>(codes[j] | (from[j] >> shift & mask) << (slot * width));
    }
    codes += bytes;
  });
}

void DecodeCodes(const uint8_t* codes, int32_t bits, int32_t dim, uint8_t* to) {
  std::fill_n(to, dim, 0);
  VisitFields(bits, [&](int32_t width, int32_t shift) {
    const int32_t bytes = dim * width / 8;
    const uint32_t mask = (1u << width) - 1;
    for (int32_t slot = 0; slot < 8 / width; ++slot) {
      for (int32_t j = 0; j < bytes; ++j)
        to[slot * bytes + j] |= static_cast<uint8_t>((codes[j] >> (slot * width) & mask) << shift);
    }
    codes += bytes;
  });
}

void DecodeRow(const uint8_t* codes, float scale, int32_t bits, int32_t dim, float* row) {
  const float step = scale * GaussianStep(bits), middle = 0.5f * static_cast<float>((1 << bits) - 1);
  thread_local std::array<uint8_t, 4096> all;  // head_dim is at most 4096
  DecodeCodes(codes, bits, dim, all.data());
  for (int32_t c = 0; c < dim; ++c) row[c] = step * (static_cast<float>(all[c]) - middle);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(EncodeRow);
HWY_EXPORT(DecodeCodes);
HWY_EXPORT(DecodeRow);

namespace {

constexpr int32_t kUnitLevel = 10;

// Uniform mid-rise quantisers of 2^b levels for a Gaussian: best step and its error (Max, 1960).
constexpr std::array<float, kMaxRowBits + 1> kSteps = {0,        1.59577f, 0.99569f, 0.58602f, 0.33520f,
                                                       0.18814f, 0.10406f, 0.05687f, 0.03076f};
constexpr std::array<float, kMaxRowBits + 1> kErrors = {
    1, 0.363380f, 0.118846f, 0.0374397f, 0.0115429f, 0.00349521f, 0.00104005f, 0.000304333f, 0.0000876862f};

struct ScaleTable {
  std::array<float, kScaleLevels> factor{}, energy{};
  ScaleTable() {
    for (int32_t i = 0; i < kScaleLevels; ++i) {
      factor[i] = static_cast<float>(std::pow(10.0, (i - kUnitLevel) * 0.1));
      energy[i] = factor[i] * factor[i];
    }
  }
};

const ScaleTable& Scales() {
  static const ScaleTable table;
  return table;
}

}  // namespace

int32_t ScaleLevel(float deviation_of_row, float deviation) {
  const float steps = 10 * std::log10(deviation_of_row / deviation);
  // Not a number where both are zero, minus infinity where the row is.
  if (!(steps > -kUnitLevel)) return 0;
  return std::min(kUnitLevel + static_cast<int32_t>(std::lrintf(std::min(steps, 100.0f))), kScaleLevels - 1);
}

const std::array<float, kScaleLevels>& ScaleFactors() { return Scales().factor; }
float ScaleFactor(int32_t level) { return Scales().factor[level]; }
float EnergyFactor(int32_t level) { return Scales().energy[level]; }
float GaussianError(int32_t bits) { return kErrors[bits]; }
float GaussianStep(int32_t bits) { return kSteps[bits]; }

BitThresholds UnitThresholds(float row_cost) {
  BitThresholds thresholds;
  // Where some number of bits first pays for the row; from there each further bit is bought for itself.
  float first = std::numeric_limits<float>::max();
  for (int32_t b = 1; b <= kMaxRowBits; ++b)
    first = std::min(first, (static_cast<float>(b) + row_cost) / (1 - kErrors[b]));
  for (int32_t b = 1; b <= kMaxRowBits; ++b)
    thresholds[b - 1] = std::max(first, 1 / (kErrors[b - 1] - kErrors[b]));
  return thresholds;
}

BitThresholds ThresholdsOf(float price, const BitThresholds& unit) {
  BitThresholds thresholds;
  for (int32_t b = 0; b < kMaxRowBits; ++b) thresholds[b] = price * unit[b];
  return thresholds;
}

float PriceThatFits(std::span<const float> energies, const BitThresholds& unit, int64_t room) {
  const auto fits = [&](float price) {
    const BitThresholds thresholds = ThresholdsOf(price, unit);
    int64_t bits = 0;
    for (const float energy : energies) bits += BitsOf(energy, thresholds);
    return bits <= room;
  };
  // Above the most energetic row's first bit nothing is bought.
  float high = 1e-30f;
  for (const float energy : energies) high = std::max(high, energy);
  float low = high * 1e-12f;
  if (fits(low)) return low;
  while (high > low * 1.000001f) {
    const float middle = std::sqrt(low) * std::sqrt(high);
    if (!(middle > low && middle < high)) break;
    (fits(middle) ? high : low) = middle;
  }
  return high;
}

void EncodeRow(const float* row, float scale, int32_t bits, int32_t dim, uint8_t* codes) {
  HWY_DYNAMIC_DISPATCH(EncodeRow)(row, scale, bits, dim, codes);
}

void DecodeCodes(const uint8_t* codes, int32_t bits, int32_t dim, uint8_t* to) {
  HWY_DYNAMIC_DISPATCH(DecodeCodes)(codes, bits, dim, to);
}

void DecodeRow(const uint8_t* codes, float scale, int32_t bits, int32_t dim, float* row) {
  HWY_DYNAMIC_DISPATCH(DecodeRow)(codes, scale, bits, dim, row);
}

}  // namespace kvcapsule
#endif
