// Products and unpacking by AMX and GFNI against plain loops. Skipped where the machine has neither.
#include "attention/wide_codes.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

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
  if (!HasTiles()) GTEST_SKIP() << "no AMX here";
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
    const TileScope scope(true);
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

class MatrixUnpacking : public ::testing::TestWithParam<int32_t> {};

TEST_P(MatrixUnpacking, GivesTheCodesOfEveryWidth) {
  if (!HasByteMatrices()) GTEST_SKIP() << "no GFNI here";
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
