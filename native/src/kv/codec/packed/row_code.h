// One row of coefficients in 0 to 8 bits a channel, with a 4-bit logarithmic scale.
#pragma once
#include <array>
#include <cstdint>
#include <span>

namespace kvcapsule {

inline constexpr int32_t kMaxRowBits = 8;

// Bytes of a row; dim is a multiple of 8.
inline constexpr int64_t RowCodeBytes(int32_t bits, int32_t dim) {
  return static_cast<int64_t>(bits) * dim / 8;
}

// A row's scale is its profile's deviation times 10^(level - 10) dB / 10, in steps of 2 dB: levels 0 to 15.
inline constexpr int32_t kScaleLevels = 16;
int32_t ScaleLevel(float deviation_of_row, float deviation);
float ScaleFactor(int32_t level);   // of the deviation
float EnergyFactor(int32_t level);  // its square
const std::array<float, kScaleLevels>& ScaleFactors();

// Squared error a channel of the best uniform quantiser of a Gaussian of deviation 1; 0 bits: 1.
float GaussianError(int32_t bits);
// Its step; 0 bits: 0.
float GaussianStep(int32_t bits);

// Bits by reverse water-filling: a row gets bit b while energy * (GaussianError(b - 1) - GaussianError(b)) is
// more than a bit's price. A row costs attention time whatever its bits: it gets none where they gain less than
// they and row_cost bits more would cost, so that few rows have 1 bit. A row has as many bits as thresholds its
// energy passes. Both sides of a capsule compare the same floats.
using BitThresholds = std::array<float, kMaxRowBits>;
BitThresholds UnitThresholds(float row_cost);  // where a bit's price is 1
BitThresholds ThresholdsOf(float price, const BitThresholds& unit);
inline int32_t BitsOf(float energy, const BitThresholds& thresholds) {
  int32_t bits = 0;
  for (const float threshold : thresholds) bits += energy > threshold;
  return bits;
}

// The least price, to a part in a million, at which all rows together take at most `room` bits a channel, their
// row_cost not counted.
float PriceThatFits(std::span<const float> energies, const BitThresholds& unit, int64_t room);

// x = scale * step(bits) * (code - (2^bits - 1) / 2). The codes' bits lie in fields of 8, 4, 2 and 1 bits,
// the highest first (7 bits: a field of 4, one of 2, one of 1). In a field of k bits byte j holds the
// channels j + s * dim * k / 8, s = 0 .. 8/k - 1, from its low end up: whole vectors unpack by one shift and
// one mask. Rows of 0 bits take no bytes and are zero.
//
// What a channel's number is made of: its code. to [dim].
void DecodeCodes(const uint8_t* codes, int32_t bits, int32_t dim, uint8_t* to);
void EncodeRow(const float* row, float scale, int32_t bits, int32_t dim, uint8_t* codes);
void DecodeRow(const uint8_t* codes, float scale, int32_t bits, int32_t dim, float* row);

}  // namespace kvcapsule
