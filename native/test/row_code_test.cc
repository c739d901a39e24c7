#include "kv/codec/packed/row_code.h"

#include <gtest/gtest.h>

#include <cmath>

#include "scene.h"

namespace kvcapsule {
namespace {

using testing::Between;
using testing::Gaussian;

double ErrorOf(const std::vector<float>& row, int32_t bits) {
  const auto dim = static_cast<int32_t>(row.size());
  std::vector<uint8_t> codes(RowCodeBytes(bits, dim));
  const uint8_t scale = EncodeRow(row.data(), bits, dim, codes.data());
  std::vector<float> back(row.size());
  DecodeRow(codes.data(), scale, bits, dim, back.data());
  double error = 0, size = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    error += std::pow(static_cast<double>(back[i]) - row[i], 2);
    size += static_cast<double>(row[i]) * row[i];
  }
  return error / size;
}

TEST(RowCodeTest, ErrsAsTheBestUniformQuantiserOfAGaussianDoes) {
  // Distortion of Lloyd-optimal uniform quantisers of a unit Gaussian (Max, 1960).
  const double optimal[] = {0, 0.3634, 0.1188, 0.03744, 0.01154, 0.003495, 0.001041, 0.0003035, 0.0000869};
  testing::Rng rng(1);
  for (int32_t bits = 1; bits <= 8; ++bits) {
    double error = 0;
    for (int32_t i = 0; i < 300; ++i) error += ErrorOf(Gaussian(rng, 64, std::exp2(Between(rng, -9, 9))), bits);
    // A scale chosen for its own row does a little better than one for the distribution.
    EXPECT_GT(error / 300, 0.5 * optimal[bits]) << bits;
    EXPECT_LT(error / 300, 1.02 * optimal[bits]) << bits;
  }
}

TEST(RowCodeTest, FieldsTakeEveryChannelOfAnyWidth) {
  testing::Rng rng(2);
  for (const int32_t dim : {8, 16, 24, 40, 64, 128}) {
    for (int32_t bits = 1; bits <= 8; ++bits) {
      for (int32_t trial = 0; trial < 10; ++trial) {
        // One large channel among small ones comes back as the only large one.
        std::vector<float> row(dim, -0.125f);
        const int32_t at = Between(rng, 0, dim - 1);
        row[at] = 3;
        std::vector<uint8_t> codes(RowCodeBytes(bits, dim));
        const uint8_t scale = EncodeRow(row.data(), bits, dim, codes.data());
        std::vector<float> back(dim);
        DecodeRow(codes.data(), scale, bits, dim, back.data());
        for (int32_t c = 0; c < dim; ++c) ASSERT_EQ(back[c] > 0, c == at) << bits << " bits, channel " << c;
      }
    }
  }
}

TEST(RowCodeTest, ZerosAndExtremesStayFinite) {
  for (const float value : {0.0f, 1e-30f, 1e-7f, 1e5f, 3e38f}) {
    const std::vector<float> row(16, value);
    std::vector<uint8_t> codes(RowCodeBytes(3, 16));
    const uint8_t scale = EncodeRow(row.data(), 3, 16, codes.data());
    std::vector<float> back(16);
    DecodeRow(codes.data(), scale, 3, 16, back.data());
    for (const float x : back) ASSERT_TRUE(std::isfinite(x) && x >= 0 && x <= 1.2f * value) << value;
  }
}

}  // namespace
}  // namespace kvcapsule
