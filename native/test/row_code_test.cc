#include "kv/codec/packed/row_code.h"

#include <gtest/gtest.h>

#include <cmath>

#include "attention/kernels.h"
#include "scene.h"
#include "targets.h"

namespace kvcapsule {
namespace {

using testing::Between;
using testing::Gaussian;

std::vector<float> ThereAndBack(const std::vector<float>& row, float scale, int32_t bits) {
  const auto dim = static_cast<int32_t>(row.size());
  std::vector<uint8_t> codes(RowCodeBytes(bits, dim));
  EncodeRow(row.data(), scale, bits, dim, codes.data());
  std::vector<float> back(row.size(), NAN);
  DecodeRow(codes.data(), scale, bits, dim, back.data());
  return back;
}

TEST(RowCodeTest, ErrsAsItsTableSays) {
  testing::Rng rng(1);
  for (int32_t bits = 0; bits <= kMaxRowBits; ++bits) {
    double error = 0;
    constexpr int32_t kRows = 1000;
    for (int32_t i = 0; i < kRows; ++i) {
      const auto row = Gaussian(rng, 64, 3);
      const auto back = ThereAndBack(row, 3, bits);
      for (size_t c = 0; c < row.size(); ++c)
        error += std::pow((static_cast<double>(back[c]) - row[c]) / 3, 2);
    }
    const double mean = error / (64 * kRows);
    // At many bits a few clipped values make most of the error.
    EXPECT_NEAR(mean, GaussianError(bits), (bits > 5 ? 0.1 : 0.03) * GaussianError(bits)) << bits;
  }
}

TEST(RowCodeTest, FieldsTakeEveryChannelOfAnyWidth) {
  testing::Rng rng(2);
  for (const int32_t dim : {8, 16, 24, 40, 64, 128}) {
    for (int32_t bits = 1; bits <= kMaxRowBits; ++bits) {
      // Values at the codes' own levels come back exactly, each in its place.
      std::vector<float> row(dim);
      const float top = static_cast<float>((1 << bits) - 1);
      for (float& x : row) {
        x = (static_cast<float>(Between(rng, 0, (1 << bits) - 1)) - 0.5f * top) * GaussianStep(bits) * 2;
      }
      const auto back = ThereAndBack(row, 2, bits);
      for (int32_t c = 0; c < dim; ++c) ASSERT_NEAR(back[c], row[c], 1e-4) << bits << " bits, channel " << c;
    }
  }
}

TEST(RowCodeTest, LevelsAreTheNearestAndEndSomewhere) {
  EXPECT_EQ(ScaleLevel(1, 1), 10);
  EXPECT_EQ(ScaleLevel(0, 1), 0);
  EXPECT_EQ(ScaleLevel(0, 0), 0);
  EXPECT_EQ(ScaleLevel(1, 0), kScaleLevels - 1);
  EXPECT_EQ(ScaleLevel(1e30f, 1e-30f), kScaleLevels - 1);
  for (int32_t level = 0; level < kScaleLevels; ++level) {
    EXPECT_EQ(ScaleLevel(7 * ScaleFactor(level) * 1.1f, 7), level);
    EXPECT_EQ(ScaleLevel(7 * ScaleFactor(level) / 1.1f, 7), level);
    EXPECT_FLOAT_EQ(EnergyFactor(level), ScaleFactor(level) * ScaleFactor(level));
  }
}

TEST(RowCodeTest, BitsCostLeastInErrorAndPriceTogether) {
  for (const auto& [price, row_cost] : {std::pair(0.01f, 0.0f), {1.0f, 0.0f}, {40.0f, 0.375f}, {3.0f, 2.5f}}) {
    const BitThresholds thresholds = ThresholdsOf(price, UnitThresholds(row_cost));
    for (float energy = 1e-3f; energy < 1e6f; energy *= 1.37f) {
      const int32_t bits = BitsOf(energy, thresholds);
      const auto cost = [&](int32_t b) {
        return energy * GaussianError(b) + price * (static_cast<float>(b) + (b > 0 ? row_cost : 0));
      };
      for (int32_t b = 0; b <= kMaxRowBits; ++b)
        EXPECT_LE(cost(bits), cost(b) * 1.00001f) << energy << " " << b;
    }
  }
}

class UnpackTest : public testing::TargetTest {};

TEST_P(UnpackTest, GivesTheCodesThatDecodeRowMakesNumbersOf) {
  testing::Rng rng(7);
  for (const int32_t dim : {8, 40, 64, 80, 128}) {
    for (int32_t bits = 1; bits <= 8; ++bits) {
      for (int32_t trial = 0; trial < 20; ++trial) {
        // As long as the row and what may be read after it, at any address: AddressSanitizer sees a byte more.
        const int32_t shift = Between(rng, 0, 7);
        std::vector<uint8_t> bytes(shift + RowCodeBytes(bits, dim) + kOverRead);
        for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(Between(rng, 0, 255));
        std::vector<float> want(dim);
        std::vector<uint8_t> got(dim, 255);
        const float scale = 1 / GaussianStep(bits), middle = static_cast<float>((1 << bits) - 1) / 2;
        DecodeRow(bytes.data() + shift, scale, bits, dim, want.data());
        UnpackCodes(bytes.data() + shift, bits, dim, got.data());
        for (int32_t c = 0; c < dim; ++c)
          ASSERT_NEAR((want[c] + middle) * static_cast<float>(1 << (8 - bits)), got[c], 1e-2) << bits << " bits, channel " << c << " of " << dim;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, UnpackTest, ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& param) { return hwy::TargetName(param.param); });

}  // namespace
}  // namespace kvcapsule
