#include "kv/codec/packed/row_code.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace kvcapsule {
namespace {

constexpr int32_t kMaxBits = 8;
constexpr float kCodesPerOctave = 8, kUnitCode = 128;

// Lloyd-optimal step sizes of uniform mid-rise quantisers of 2^b levels for a Gaussian (Max, 1960).
constexpr std::array<float, kMaxBits + 1> kSteps = {0,       1.59577f, 0.99569f, 0.58602f, 0.33520f,
                                                    0.18814f, 0.10406f, 0.05687f, 0.03076f};

// Fields of a code, highest first.
template <class Visit>
void VisitFields(int32_t bits, Visit visit) {
  for (const int32_t width : {8, 4, 2, 1}) {
    if (bits & width) visit(width, bits & (width - 1));
  }
}

struct Quantiser {
  float inverse, step, middle, top;

  Quantiser(float scale, int32_t bits)
      : inverse(1 / (scale * kSteps[bits])),
        step(scale * kSteps[bits]),
        middle(0.5f * static_cast<float>((1 << bits) - 1)),
        top(static_cast<float>((1 << bits) - 1)) {}

  float Code(float x) const {
    return std::clamp(std::floor(x * inverse + (middle + 0.5f)), 0.0f, top);
  }
};

float SquaredError(const float* row, int32_t dim, const Quantiser& quantiser) {
  // Lanes of their own, in a fixed order: the compiler may keep them in one vector.
  float lanes[8] = {};
  for (int32_t c = 0; c < dim; c += 8) {
    for (int32_t i = 0; i < 8; ++i) {
      const float x = row[c + i];
      const float error = x - (quantiser.Code(x) - quantiser.middle) * quantiser.step;
      lanes[i] += error * error;
    }
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

// Climbs down from the deviation's code while the error falls.
uint8_t BestScale(const float* row, int32_t bits, int32_t dim) {
  float squares = 0;
  for (int32_t c = 0; c < dim; ++c) squares += row[c] * row[c];
  const float deviation = std::sqrt(squares / static_cast<float>(dim));
  if (!(deviation > ScaleOfCode(1))) return 0;
  const auto error = [&](int32_t code) {
    return SquaredError(row, dim, Quantiser(ScaleOfCode(static_cast<uint8_t>(code)), bits));
  };
  int32_t best = std::clamp(
      static_cast<int32_t>(std::lrintf(std::log2(deviation) * kCodesPerOctave + kUnitCode)), 1, 255);
  float least = error(best);
  for (const int32_t direction : {1, -1}) {
    bool moved = false;
    for (int32_t next = best + direction; next >= 1 && next <= 255; next += direction) {
      const float tried = error(next);
      if (!(tried < least)) break;
      least = tried;
      best = next;
      moved = true;
    }
    if (moved) break;
  }
  return static_cast<uint8_t>(best);
}

}  // namespace

float GaussianStep(int32_t bits) { return kSteps[bits]; }

float ScaleOfCode(uint8_t code) {
  static const auto table = [] {
    std::array<float, 256> scales{};
    for (int32_t i = 1; i < 256; ++i)
      scales[i] = std::exp2((static_cast<float>(i) - kUnitCode) / kCodesPerOctave);
    return scales;
  }();
  return table[code];
}

uint8_t EncodeRow(const float* row, int32_t bits, int32_t dim, uint8_t* codes) {
  const uint8_t scale = BestScale(row, bits, dim);
  std::memset(codes, 0, RowCodeBytes(bits, dim));
  if (scale == 0) return 0;
  const Quantiser quantiser(ScaleOfCode(scale), bits);
  VisitFields(bits, [&](int32_t width, int32_t shift) {
    const int32_t bytes = dim * width / 8;
    for (int32_t c = 0; c < dim; ++c) {
      const auto code = static_cast<uint32_t>(quantiser.Code(row[c]));
      const uint32_t field = code >> shift & ((1u << width) - 1);
      codes[c % bytes] |= static_cast<uint8_t>(field << (c / bytes * width));
    }
    codes += bytes;
  });
  return scale;
}

void DecodeRow(const uint8_t* codes, uint8_t scale, int32_t bits, int32_t dim, float* row) {
  const float step = ScaleOfCode(scale) * kSteps[bits];
  std::fill_n(row, dim, -0.5f * static_cast<float>((1 << bits) - 1) * step);
  VisitFields(bits, [&](int32_t width, int32_t shift) {
    const int32_t bytes = dim * width / 8;
    const uint32_t mask = (1u << width) - 1;
    const float unit = step * static_cast<float>(1 << shift);
    for (int32_t slot = 0; slot < 8 / width; ++slot) {
      float* to = row + slot * bytes;
      for (int32_t j = 0; j < bytes; ++j)
        to[j] += unit * static_cast<float>(codes[j] >> (slot * width) & mask);
    }
    codes += bytes;
  });
}

}  // namespace kvcapsule
