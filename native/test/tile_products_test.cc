// Products on tiles: the instruction's arithmetic number by number, cut rows, and matrices by emulated tiles against plain
// loops in double precision. Where the machine has the tiles, they give the emulation's bits.
#include "backend/tile_products.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "backend/packed_matrix.h"
#include "common/half.h"
#include "emulated_tiles.h"
#include "targets.h"

namespace kvcapsule {
namespace {

using testing::kEmulatedProduct;
using testing::UseTileProduct;

// ---- The instruction

// Products a[i] * 1 of 16 pairs, to sum.
float Sum(float sum, std::vector<float> a) {
  a.resize(kTileInputs);
  const std::vector<float> ones(kTileInputs, 1.0f);
  return AddTileProducts(sum, a.data(), ones.data(), kTileInputs / 2);
}

TEST(TileArithmetic, EvenAndOddProductsAreAddedUpApart) {
  const float big = 0x1p24f;
  // one chain would lose the 1 beside the other's big number
  EXPECT_EQ(Sum(0, {big, 1, -big, 0}), 1);
  EXPECT_EQ(Sum(0, {big, 0, 1, 0, -big, 0}), 0);  // within one chain it is lost
}

TEST(TileArithmetic, EverySumRoundsToNearestEven) {
  EXPECT_EQ(Sum(0, {0x1p24f, 0, 1}), 0x1p24f);
  EXPECT_EQ(Sum(0, {0x1p24f + 2, 0, 1}), 0x1p24f + 4);
  EXPECT_EQ(Sum(0, {0x1p24f, 0, 1, 0, 1}), 0x1p24f);  // in order: 1 + 1 first would count
}

TEST(TileArithmetic, ASumIsAddedToOnceAtTheEnd) {
  EXPECT_EQ(Sum(0x1p24f, {1, 1}), 0x1p24f + 2);
  EXPECT_EQ(Sum(-0x1p24f, {0x1p24f, 0, 0, 1}), 0);  // the 1 is lost in even + odd
}

TEST(TileArithmetic, NumbersWithoutANormalFormAreZeros) {
  EXPECT_EQ(TileFloat(0x0080), 0x1p-126f);
  EXPECT_EQ(TileFloat(0x007F), 0.0f);
  EXPECT_TRUE(std::signbit(TileFloat(0x8001)));
  EXPECT_EQ(Sum(0x1p-127f, {}), 0.0f);
  EXPECT_EQ(Sum(0, {0x1p-126f, 0, -0x1.8p-126f}), 0.0f);
  EXPECT_EQ(Sum(0, {0x1p-125f, 0, -0x1p-126f}), 0x1p-126f);
}

// A product below 2^-126 counts as long as its sum is none.
TEST(TileArithmetic, MultiplyAddsAreFused) {
  const std::vector<float> a = {0x1p-60f, 0, 0x1p-60f, 0}, b = {0x1p-66f, 0, 0x1p-70f, 0};
  EXPECT_EQ(AddTileProducts(0, a.data(), b.data(), 2), 0x1.1p-126f);
}

// ---- Cut rows

class CutRowsTest : public testing::TargetTest {};

TEST_P(CutRowsTest, PartsAddUpToTheNumberAndFillBlocksWithZeros) {
  std::mt19937 random(3);
  for (const int64_t inputs : {1, 31, 32, 33, 100}) {
    for (const int32_t rows : {1, 16, 33, 70}) {
      const int64_t ldx = inputs + 3;
      std::vector<float> x(rows * ldx);
      for (float& value : x) {
        value = std::ldexp(std::uniform_real_distribution<float>(-2, 2)(random), static_cast<int>(random() % 200) - 100);
      }
      AlignedVector<uint8_t> cut(rows * CutRowBytes(inputs), 0xAA);
      CutRows(x.data(), ldx, rows, inputs, cut.data());
      const auto* parts = reinterpret_cast<const uint16_t*>(cut.data());
      for (int32_t r = 0; r < rows; ++r) {
        const int32_t chunk = r / kTileChunk * kTileChunk, side_by_side = std::min(kTileChunk, rows - chunk);
        for (int64_t i = 0; i < TileBlocks(inputs) * kTileInputs; ++i) {
          double sum = 0;
          for (int64_t part = 0; part < kTileParts; ++part) {
            const int64_t block = i / kTileInputs * kTileParts + part;
            sum += TileFloat(parts[chunk * CutRowBytes(inputs) / 2 +
                                   (block * side_by_side + r - chunk) * kTileInputs + i % kTileInputs]);
          }
          ASSERT_EQ(sum, i < inputs ? x[r * ldx + i] : 0.0f) << rows << " rows of " << inputs << ": " << r << ", " << i;
        }
      }
    }
  }
}

TEST_P(CutRowsTest, OfVerySmallNumbersOnlyTheLowPartIsLost) {
  const float x = -0x1.FFFFFEp-111f;
  AlignedVector<uint8_t> cut(CutRowBytes(1));
  CutRows(&x, 1, 1, 1, cut.data());
  const auto* parts = reinterpret_cast<const uint16_t*>(cut.data());
  EXPECT_EQ(TileFloat(parts[0]), 0.0f);
  EXPECT_EQ(TileFloat(parts[kTileInputs]) + TileFloat(parts[2 * kTileInputs]), -0x1.FFFEp-111f);
}

INSTANTIATE_TEST_SUITE_P(Targets, CutRowsTest, ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()));

// ---- Matrices

std::vector<float> Draw(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = std::normal_distribution<float>()(random);
  return values;
}

// A bf16 matrix with what multiplies by it at this moment.
struct Matrix {
  Matrix(int64_t outputs, int64_t inputs, uint32_t seed)
      : memory(PackedMatrix::Bytes(outputs, inputs, WeightType::kBF16)),
        packed(outputs, inputs, WeightType::kBF16, memory.data()),
        weights(Draw(outputs * inputs, seed)) {
    std::vector<uint8_t> rounded(weights.size() * 2);
    FromFloat(Dtype::kBF16, weights.data(), outputs * inputs, rounded.data());
    ToFloat(Dtype::kBF16, rounded.data(), outputs * inputs, weights.data());
    for (int64_t output = 0, count = 0; output < outputs; output += count) {
      count = std::min<int64_t>(kTilePanel - output % kTilePanel, outputs - output);
      packed.SetOutputs(output, count, &weights[output * inputs]);
    }
  }
  // Rows between others that are left alone.
  std::vector<float> Multiply(const float* x, int32_t rows) const {
    const int64_t width = int64_t{packed.panels()} * kTilePanel;
    InputRows in;
    in.Assign(packed, x, packed.inputs(), rows);
    std::vector<float> y(rows * width, NAN);
    packed.Multiply(in, 0, packed.panels(), y.data(), width);
    return y;
  }

  LargeBuffer memory;
  PackedMatrix packed;
  std::vector<float> weights;  // [outputs][inputs], rounded
};

struct Sizes {
  int64_t outputs, inputs;
  int32_t rows;
};

class TileProductTest : public ::testing::TestWithParam<Sizes> {};

// The largest error against double precision, over the sum of sizes.
double WorstError(const Matrix& matrix, const std::vector<float>& x, const std::vector<float>& y, int64_t outputs) {
  const int64_t inputs = matrix.packed.inputs(), width = int64_t{matrix.packed.panels()} * kTilePanel;
  double worst = 0;
  for (int64_t row = 0; row * inputs < static_cast<int64_t>(x.size()); ++row) {
    for (int64_t output = 0; output < width; ++output) {
      double sum = 0, size = 1e-300;
      for (int64_t i = 0; output < outputs && i < inputs; ++i) {
        const double term = double{x[row * inputs + i]} * matrix.weights[output * inputs + i];
        sum += term;
        size += std::fabs(term);
      }
      const double error = std::fabs(y[row * width + output] - sum) / size;
      worst = std::isnan(error) ? INFINITY : std::max(worst, error);
    }
  }
  return worst;
}

TEST_P(TileProductTest, IsAsExactAsSinglePrecision) {
  const auto [outputs, inputs, rows] = GetParam();
  const std::vector<float> x = Draw(rows * inputs, 5);
  double tiles = 0, plain = 0;
  {
    const UseTileProduct use(kEmulatedProduct);
    const Matrix matrix(outputs, inputs, 6);
    ASSERT_TRUE(matrix.packed.on_tiles());
    tiles = WorstError(matrix, x, matrix.Multiply(x.data(), rows), outputs);
  }
  {
    const UseTileProduct use(nullptr);
    const Matrix matrix(outputs, inputs, 6);
    ASSERT_FALSE(matrix.packed.on_tiles());
    plain = WorstError(matrix, x, matrix.Multiply(x.data(), rows), outputs);
  }
  RecordProperty("ratio", std::to_string(tiles / plain));
  // a sum of few terms is rounded three times whole
  EXPECT_LE(tiles, std::max(plain, inputs >= 64 ? 0 : 3 * 0x1p-24));
}

TEST_P(TileProductTest, ARowsBitsAreTheSameInAnyCompany) {
  const auto [outputs, inputs, rows] = GetParam();
  const UseTileProduct use(kEmulatedProduct);
  const Matrix matrix(outputs, inputs, 7);
  constexpr int32_t kMost = 100;
  const std::vector<float> x = Draw(kMost * inputs, 8), all = matrix.Multiply(x.data(), kMost);
  const int64_t width = static_cast<int64_t>(all.size()) / kMost;
  for (const int32_t count : {1, 3, 16, 17, 31, 33, 64}) {
    for (int32_t first = 0; first + count <= kMost; first += std::max(count, 29)) {
      const std::vector<float> some = matrix.Multiply(&x[first * inputs], count);
      for (int64_t i = 0; i < count * width; ++i)
        ASSERT_EQ(std::bit_cast<uint32_t>(some[i]), std::bit_cast<uint32_t>(all[first * width + i]))
            << count << " rows from " << first;
    }
  }
}

TEST_P(TileProductTest, OutputsAreReadBackAsTheyWereRounded) {
  const auto [outputs, inputs, rows] = GetParam();
  const UseTileProduct use(kEmulatedProduct);
  const Matrix matrix(outputs, inputs, 9);
  std::vector<float> row(inputs);
  for (int64_t output = 0; output < outputs; ++output) {
    matrix.packed.ReadOutput(output, row.data());
    ASSERT_TRUE(std::equal(row.begin(), row.end(), &matrix.weights[output * inputs])) << output;
  }
}

TEST_P(TileProductTest, TheMachinesTilesGiveTheEmulationsBits) {
  const TileProduct machine = ChosenTileProduct();
  if (!machine) GTEST_SKIP() << "no AMX-BF16 here";
  const auto [outputs, inputs, rows] = GetParam();
  const std::vector<float> x = Draw(rows * inputs, 10);
  std::vector<float> found[2];
  for (const TileProduct product : {machine, kEmulatedProduct}) {
    const UseTileProduct use(product);
    found[product == machine] = Matrix(outputs, inputs, 11).Multiply(x.data(), rows);
  }
  for (size_t i = 0; i < found[0].size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(found[0][i]), std::bit_cast<uint32_t>(found[1][i])) << i;
}

INSTANTIATE_TEST_SUITE_P(Sizes, TileProductTest,
                         ::testing::Values(Sizes{1, 1, 1}, Sizes{33, 7, 17}, Sizes{31, 31, 16}, Sizes{64, 32, 32},
                                           Sizes{70, 33, 70}, Sizes{96, 64, 33}, Sizes{40, 130, 15}, Sizes{65, 200, 49},
                                           Sizes{100, 100, 64}, Sizes{32, 1100, 18}));

// ---- Weights that are cut too

// y [rows][outputs in whole panels] of x times weights [outputs][inputs], both single precision, brought input by input of
// an output or output by output of an input.
std::vector<float> MultiplyCut(TileProduct product, const std::vector<float>& x, int32_t rows,
                               const std::vector<float>& weights, int64_t inputs, bool by_inputs) {
  const auto outputs = static_cast<int64_t>(weights.size()) / inputs, panels = (outputs + kTilePanel - 1) / kTilePanel;
  // what was there before are NaNs
  AlignedVector<uint8_t> cut(rows * CutRowBytes(inputs)), laid(TileBytes(outputs, inputs, kTileParts), 0xFF);
  CutRows(x.data(), inputs, rows, inputs, cut.data());
  for (int64_t output = 0; by_inputs && output < outputs; ++output) {
    for (int64_t first = 0, count = 1; first < inputs; first += count, count = std::min(count + 6, inputs - first))
      PlaceInputs(&weights[output * inputs + first], output, first, count, inputs, laid.data());
  }
  for (int64_t input = 0; !by_inputs && input < inputs; ++input) {
    for (int64_t first = 0, count = 0; first < outputs; first += count) {
      count = std::min({1 + first % 7, outputs - first, kTilePanel - first % kTilePanel});
      std::vector<float> column;
      for (int64_t i = 0; i < count; ++i) column.push_back(weights[(first + i) * inputs + input]);
      PlaceOutputs(column.data(), first, count, input, inputs, laid.data());
    }
  }
  std::vector<float> y(rows * panels * kTilePanel, NAN);
  product({cut.data(), rows, laid.data(), static_cast<int32_t>(panels), inputs, y.data(), panels * kTilePanel, true});
  return y;
}

TEST_P(TileProductTest, WithCutWeightsIsAsExactAsSinglePrecision) {
  const auto [outputs, inputs, rows] = GetParam();
  const std::vector<float> x = Draw(rows * inputs, 13), weights = Draw(outputs * inputs, 14);
  const std::vector<float> y = MultiplyCut(kEmulatedProduct, x, rows, weights, inputs, true);
  const int64_t width = static_cast<int64_t>(y.size()) / rows;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t output = 0; output < outputs; ++output) {
      double sum = 0, size = 0;
      for (int64_t i = 0; i < inputs; ++i) {
        const double term = double{x[row * inputs + i]} * weights[output * inputs + i];
        sum += term;
        size += std::fabs(term);
      }
      ASSERT_LE(std::fabs(y[row * width + output] - sum), (0x1p-21 + 0x1p-22) * size) << row << ", " << output;
    }
  }
}

TEST_P(TileProductTest, CutWeightsGiveTheSameBitsHoweverTheyCameAndInAnyCompany) {
  const auto [outputs, inputs, rows] = GetParam();
  const std::vector<float> x = Draw(rows * inputs, 15), weights = Draw(outputs * inputs, 16);
  const std::vector<float> y = MultiplyCut(kEmulatedProduct, x, rows, weights, inputs, true);
  const std::vector<float> other = MultiplyCut(kEmulatedProduct, x, rows, weights, inputs, false);
  const int64_t width = static_cast<int64_t>(y.size()) / rows;
  for (int64_t row = 0; row < rows; ++row) {
    const std::vector<float> one(&x[row * inputs], &x[row * inputs] + inputs);
    const std::vector<float> alone = MultiplyCut(kEmulatedProduct, one, 1, weights, inputs, true);
    for (int64_t output = 0; output < outputs; ++output) {
      ASSERT_EQ(std::bit_cast<uint32_t>(y[row * width + output]), std::bit_cast<uint32_t>(other[row * width + output]));
      ASSERT_EQ(std::bit_cast<uint32_t>(y[row * width + output]), std::bit_cast<uint32_t>(alone[output]));
    }
  }
}

TEST_P(TileProductTest, WithCutWeightsTheMachinesTilesGiveTheEmulationsBits) {
  const TileProduct machine = ChosenTileProduct();
  if (!machine) GTEST_SKIP() << "no AMX-BF16 here";
  const auto [outputs, inputs, rows] = GetParam();
  const std::vector<float> x = Draw(rows * inputs, 17), weights = Draw(outputs * inputs, 18);
  const std::vector<float> found = MultiplyCut(machine, x, rows, weights, inputs, true);
  const std::vector<float> expected = MultiplyCut(kEmulatedProduct, x, rows, weights, inputs, true);
  const int64_t width = static_cast<int64_t>(found.size()) / rows;
  for (int64_t i = 0; i < rows * outputs; ++i) {
    const int64_t at = i / outputs * width + i % outputs;
    ASSERT_EQ(std::bit_cast<uint32_t>(found[at]), std::bit_cast<uint32_t>(expected[at])) << i;
  }
}

TEST(TileProducts, AreProvenAtTheStart) {
  EXPECT_TRUE(MultipliesAsDocumented(kEmulatedProduct));
  // right but for the last bit of one number
  EXPECT_FALSE(MultipliesAsDocumented([](const TileOperands& o) {
    kEmulatedProduct(o);
    o.y[o.count * o.ldy - 1] = std::nextafter(o.y[o.count * o.ldy - 1], 0.0f);
  }));
  // all products in one chain
  EXPECT_FALSE(MultipliesAsDocumented([](const TileOperands& o) {
    const auto* rows = reinterpret_cast<const uint16_t*>(o.rows);
    const auto* weights = reinterpret_cast<const uint16_t*>(o.weights);
    for (int64_t i = 0; i < o.count * kTilePanel; ++i) {
      float sum = 0;
      for (int64_t k = 0; k < TileBlocks(o.inputs) * kTileInputs * kTileParts; ++k) {
        const int64_t part = k / kTileInputs, input = part / kTileParts * kTileInputs + k % kTileInputs;
        const float x = TileFloat(rows[(part * o.count + i / kTilePanel) * kTileInputs + k % kTileInputs]);
        sum = RoundTileSum(double{x} * TileFloat(weights[TilePlace(i % kTilePanel, input, o.inputs)]) + sum);
      }
      o.y[i / kTilePanel * o.ldy + i % kTilePanel] = sum;
    }
  }));
}

// Only the last panel's own bytes are read and only the asked rows and panels are written.
TEST(TileProducts, StayWithinTheirMemory) {
  constexpr int64_t kInputs = 40, kOutputs = 64, kGap = 5;
  constexpr int32_t kRows = 19;
  const std::vector<float> x = Draw(kRows * kInputs, 12);
  AlignedVector<uint8_t> cut(kRows * CutRowBytes(kInputs)), weights(TileBytes(kOutputs, kInputs));
  CutRows(x.data(), kInputs, kRows, kInputs, cut.data());
  std::vector<float> y(kRows * (kTilePanel + kGap) - kGap, -7.0f);
  kEmulatedProduct({cut.data(), kRows, weights.data() + TileBytes(kTilePanel, kInputs), 1, kInputs, y.data(),
                    kTilePanel + kGap});
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i], i % (kTilePanel + kGap) < kTilePanel ? 0.0f : -7.0f) << i;
}

}  // namespace
}  // namespace kvcapsule
