// One row of coefficients in 1 to 8 bits a channel with an 8-bit logarithmic scale.
#pragma once
#include <cstdint>

namespace kvcapsule {

// Bytes of a row; dim is a multiple of 8.
inline constexpr int64_t RowCodeBytes(int32_t bits, int32_t dim) { return static_cast<int64_t>(bits) * dim / 8; }

// x = scale * step(bits) * (code - (2^bits - 1) / 2). The codes' bits lie in fields of 8, 4, 2 and 1 bits, the
// highest first (7 bits: a field of 4, one of 2, one of 1). In a field of k bits byte j holds the channels
// j + s * dim * k / 8, s = 0 .. 8/k - 1, from its low end up: whole vectors unpack by one shift and one mask.

// Step of the uniform quantiser with the least squared error for a Gaussian of deviation 1.
float GaussianStep(int32_t bits);
// 2^((code - 128) / 8); code 0 is a row of zeros.
float ScaleOfCode(uint8_t code);

// Writes RowCodeBytes bytes and returns the scale's code: the one of least squared error near the row's
// deviation. Uses no state: equal rows give equal bytes.
uint8_t EncodeRow(const float* row, int32_t bits, int32_t dim, uint8_t* codes);
void DecodeRow(const uint8_t* codes, uint8_t scale, int32_t bits, int32_t dim, float* row);

}  // namespace kvcapsule
