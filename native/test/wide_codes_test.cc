// Products and unpacking by AMX and GFNI against plain loops. Skipped where the machine has neither.
#include "attention/wide_codes.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "common/isa.h"
#include "kv/codec/packed/row_code.h"
#include "kv/pool.h"
#include "kv/simd.h"

namespace kvcapsule {
namespace {

struct Sizes {
  int32_t rows, count, dim;
};

class TileSums : public ::testing::TestWithParam<Sizes> {};

TEST_P(TileSums, AreThoseOfPlainLoops) {
  if (!MayUse(IsaFeature::kInt8Tiles)) GTEST_SKIP() << "no AMX here";
  const auto [rows, count, dim] = GetParam();
  std::mt19937 rng(7);
  const int32_t padded = (rows + 15) / 16 * 16, query_stride = dim + 32;
  AlignedVector<uint8_t> codes(static_cast<size_t>(padded) * dim), laid_out(TileQueryBytes(count, dim));
  std::vector<int16_t> queries(static_cast<size_t>(count) * query_stride);
  for (uint8_t& code : codes) code = rng() % 3 == 0 ? 255 : rng() % 256;
  for (int16_t& number : queries) {
    const auto any = static_cast<int32_t>(rng() % (2 * kTileLevels + 1)) - kTileLevels;
    number = static_cast<int16_t>(rng() % 3 == 0 ? (any < 0 ? -kTileLevels : kTileLevels) : any);
  }
  std::vector<int32_t> sums(static_cast<size_t>(count) * padded, -1);
  LayOutTileQueries(queries.data(), query_stride, count, dim, laid_out.data());
  {
    const TileScope scope(&kTilesOfProducts);
    TileCodeSums(codes.data(), rows, dim, laid_out.data(), count, sums.data(), padded);
  }
  for (int32_t q = 0; q < count; ++q) {
    for (int32_t r = 0; r < rows; ++r) {
      int64_t sum = 0;
      for (int32_t c = 0; c < dim; ++c)
        sum += int64_t{codes[static_cast<size_t>(r) * dim + c]} * queries[static_cast<size_t>(q) * query_stride + c];
      ASSERT_EQ(sums[static_cast<size_t>(q) * padded + r], sum) << "query " << q << ", row " << r;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, TileSums,
                         ::testing::Values(Sizes{1, 1, 64}, Sizes{16, 2, 64}, Sizes{17, 3, 64}, Sizes{64, 2, 64},
                                           Sizes{115, 2, 64}, Sizes{300, 5, 64}, Sizes{33, 1, 128}, Sizes{115, 7, 128},
                                           Sizes{257, 2, 128}));

class TileWeights : public ::testing::TestWithParam<Sizes> {};

TEST_P(TileWeights, AreThoseOfPlainLoops) {
  if (!MayUse(IsaFeature::kInt8Tiles)) GTEST_SKIP() << "no AMX here";
  const auto [rows, count, dim] = GetParam();
  std::mt19937 rng(9);
  const int64_t spans = TileSpans(rows), width = spans * kTileSpan;
  AlignedVector<uint8_t> codes(static_cast<size_t>((rows + 3) / 4 * 4) * dim), laid_codes(spans * kTileSpan * dim);
  AlignedVector<uint8_t> laid_weights(spans * 2 * kTileWeightRows * kTileSpan);
  std::vector<int16_t> weights(static_cast<size_t>(count) * width);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(rng());
  for (uint8_t& code : laid_codes) code = 255;  // what is left of an earlier unit weighs nothing
  for (int32_t q = 0; q < count; ++q) {
    for (int32_t r = 0; r < rows; ++r)
      weights[q * width + r] = static_cast<int16_t>(static_cast<int32_t>(rng() % (2 * kTileLevels + 1)) - kTileLevels);
  }
  LayOutTileCodes(codes.data(), rows, dim, laid_codes.data());
  LayOutTileWeights(weights.data(), width, count, rows, laid_weights.data());
  std::vector<int32_t> sums(int64_t{2} * kTileWeightRows * dim);
  {
    const TileScope scope(&kTilesOfWeighedSums);
    TileWeighedSums(laid_codes.data(), laid_weights.data(), spans, dim, sums.data());
  }
  for (int32_t q = 0; q < count; ++q) {
    for (int32_t c = 0; c < dim; ++c) {
      int64_t sum = 0;
      for (int32_t r = 0; r < rows; ++r) sum += int64_t{codes[int64_t{r} * dim + c]} * weights[q * width + r];
      // vector k of 64 channels has in block b the channels 16 b + 4 k to + 3
      const int32_t within = c % 64, place = c / 64 * 64 + within % 16 / 4 * 16 + within / 16 * 4 + within % 4;
      const int32_t* high = sums.data() + int64_t{2} * q * dim;
      ASSERT_EQ(256 * int64_t{high[place]} + high[dim + place], sum) << "query " << q << ", channel " << c;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, TileWeights,
                         ::testing::Values(Sizes{1, 1, 64}, Sizes{64, 4, 64}, Sizes{65, 8, 64}, Sizes{115, 5, 128},
                                           Sizes{256, 8, 128}));

class MatrixUnpacking : public ::testing::TestWithParam<int32_t> {};

TEST_P(MatrixUnpacking, GivesTheCodesOfEveryWidth) {
  if (!MayUse(IsaFeature::kByteMatrices)) GTEST_SKIP() << "no GFNI here";
  const int32_t dim = GetParam(), rows = 200;
  std::mt19937 rng(8);
  std::vector<int32_t> bits(rows);
  int64_t bytes = 0;
  for (int32_t& width : bits) {
    width = 1 + static_cast<int32_t>(rng() % 8);
    bytes += RowCodeBytes(width, dim);
  }
  std::vector<uint8_t> codes(bytes + kOverRead), next(bytes + kOverRead), wanted(dim);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(rng());
  std::vector<uint8_t> got(static_cast<size_t>(rows) * dim);
  UnpackByMatrices(codes.data(), next.data(), bits.data(), rows, dim, got.data());
  const uint8_t* row = codes.data();
  for (int32_t i = 0; i < rows; row += RowCodeBytes(bits[i], dim), ++i) {
    DecodeCodes(row, bits[i], dim, wanted.data());
    for (int32_t c = 0; c < dim; ++c) {
      ASSERT_EQ(got[static_cast<size_t>(i) * dim + c], static_cast<uint8_t>(wanted[c] << (8 - bits[i])))
          << "row " << i << " of " << bits[i] << " bits, channel " << c;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dims, MatrixUnpacking, ::testing::Values(64, 128));

}  // namespace
}  // namespace kvcapsule
