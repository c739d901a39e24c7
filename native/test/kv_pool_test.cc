#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <vector>

#include "common/half.h"
#include "kv/gemm.h"
#include "kv/pool.h"
#include "kv/simd.h"
#include "kvcapsule/error.h"
#include "scene.h"
#include "targets.h"

namespace kvcapsule {
namespace {

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST(KvPoolTest, TilesAndPagesShareTheBytesOfABlock) {
  const KvGeometry geometry{3, 2, 24, Dtype::kF16};
  const KvPool pool(geometry, 5);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(pool.Page(0)) % 64, 0u);
  const uint8_t* base = pool.Page(0);
  int64_t offset = 0;
  for (int64_t block = 0; block < 5; ++block) {
    EXPECT_EQ(pool.Page(block * 8), pool.Tile(block, 0, KvPart::kKey, 0));
    for (int32_t layer = 0; layer < 3; ++layer) {
      for (const KvPart part : {KvPart::kKey, KvPart::kValue}) {
        for (int32_t head = 0; head < 2; ++head, offset += 16 * 24 * 2) {
          EXPECT_EQ(pool.Tile(block, layer, part, head) - base, offset);
        }
      }
    }
  }
  EXPECT_EQ(offset, 5 * geometry.BlockBytes());
  EXPECT_EQ(pool.Page(39) + geometry.PageBytes() - base, offset);
}

TEST(KvPoolTest, TakesMemoryOnlyWhereItIsTouched) {
  const int64_t before = ResidentBytes();
  const KvPool pool({32, 8, 128, Dtype::kF16}, 8192);  // 16 GiB
  pool.Page(0)[0] = 1;
  pool.Page(8192 * 8 - 1)[0] = 1;
  EXPECT_LT(ResidentBytes() - before, 64 << 20);
}

TEST(KvPoolTest, PagesLeaveAndComeBackElsewhere) {
  KvPool pool({2, 1, 16, Dtype::kF16}, 3);
  const auto page_bytes = static_cast<size_t>(pool.geometry().PageBytes());
  for (int32_t page = 0; page < 24; ++page) std::memset(pool.Page(page), page, page_bytes);
  const std::vector<int32_t> from = {7, 3, 3, 16}, to = {20, 0, 1, 23};
  std::vector<uint8_t> bytes(from.size() * page_bytes);
  pool.ReadPages(from, bytes);
  pool.WritePages(to, bytes);
  for (int32_t page = 0; page < 24; ++page) {
    const auto moved = std::find(to.begin(), to.end(), page) - to.begin();
    const int32_t want = moved < 4 ? from[moved] : page;
    for (size_t i = 0; i < page_bytes; ++i) ASSERT_EQ(pool.Page(page)[i], want) << "page " << page;
  }
  pool.ReadPages({}, {});
  pool.WritePages({}, {});
}

TEST(KvPoolTest, RefusesPagesOutOfRangeAndWritesNothing) {
  KvPool pool({2, 1, 16, Dtype::kF16}, 3);
  const auto page_bytes = static_cast<size_t>(pool.geometry().PageBytes());
  std::vector<uint8_t> bytes(2 * page_bytes, 1);
  for (const std::vector<int32_t>& pages :
       std::vector<std::vector<int32_t>>{{0, 24}, {0, -1}, {0, INT32_MAX}, {0}, {0, 1, 2}, {}}) {
    EXPECT_THROW(pool.ReadPages(pages, bytes), Error);
    EXPECT_THROW(pool.WritePages(pages, bytes), Error);
  }
  EXPECT_THROW(pool.WritePages(std::vector<int32_t>{0, 0}, bytes), Error) << "twice";
  EXPECT_EQ(pool.Page(0)[0], 0);
}

TEST(KvPoolTest, RefusesSizesOutOfRange) {
  const KvGeometry sound{2, 2, 64, Dtype::kF16};
  for (const int64_t blocks : {int64_t{0}, int64_t{-1}, int64_t{INT32_MAX}, INT64_MAX}) {
    EXPECT_THROW(KvPool(sound, blocks), Error) << blocks;
  }
  EXPECT_THROW(KvPool({0, 2, 64, Dtype::kF16}, 1), Error);
  EXPECT_THROW(KvPool({2, -1, 64, Dtype::kF16}, 1), Error);
  EXPECT_THROW(KvPool({2, 2, 1 << 20, Dtype::kF16}, 1), Error);
  EXPECT_THROW(KvPool({4096, 4096, 4096, Dtype::kF32}, 200000), Error) << "more than the address space";
}

TEST(HalfTest, EveryHalfSurvivesTheRoundTrip) {
  std::vector<uint16_t> bits(65536);
  for (uint32_t i = 0; i < 65536; ++i) bits[i] = static_cast<uint16_t>(i);
  for (const Dtype dtype : {Dtype::kF16, Dtype::kBF16}) {
    std::vector<float> wide(65536);
    std::vector<uint16_t> back(65536);
    ToFloat(dtype, reinterpret_cast<const uint8_t*>(bits.data()), 65536, wide.data());
    FromFloat(dtype, wide.data(), 65536, reinterpret_cast<uint8_t*>(back.data()));
    for (uint32_t i = 0; i < 65536; ++i) {
      if (std::isnan(wide[i])) {
        float again = 0;
        ToFloat(dtype, reinterpret_cast<const uint8_t*>(&back[i]), 1, &again);
        ASSERT_TRUE(std::isnan(again)) << i;
      } else {
        ASSERT_EQ(back[i], bits[i]) << i;
      }
    }
  }
}

TEST(HalfTest, RoundsToNearestEvenAtAnyLength) {
  struct Expect {
    Dtype dtype;
    float value;
    uint16_t bits;
  };
  const Expect table[] = {
      {Dtype::kF16, 1.0f, 0x3c00},           {Dtype::kF16, 1.00048828125f, 0x3c00},
      {Dtype::kF16, 1.00146484375f, 0x3c02}, {Dtype::kF16, 65504.0f, 0x7bff},
      {Dtype::kF16, 70000.0f, 0x7c00},       {Dtype::kF16, 5.9604645e-8f, 0x0001},
      {Dtype::kF16, -2.0f, 0xc000},          {Dtype::kBF16, 1.00390625f, 0x3f80},
      {Dtype::kBF16, 1.01171875f, 0x3f82},   {Dtype::kBF16, 3.4028235e38f, 0x7f80},
      {Dtype::kBF16, -2.0f, 0xc000},
  };
  for (const auto& [dtype, value, bits] : table) {
    for (int64_t count = 1; count <= 35; ++count) {
      std::vector<float> in(count, value), out(count);
      std::vector<uint16_t> narrow(count);
      FromFloat(dtype, in.data(), count, reinterpret_cast<uint8_t*>(narrow.data()));
      EXPECT_EQ(narrow, std::vector<uint16_t>(count, bits)) << value << " x " << count;
      ToFloat(dtype, reinterpret_cast<const uint8_t*>(narrow.data()), count, out.data());
      EXPECT_EQ(out, std::vector<float>(count, out[0]));
    }
  }
}

// Error over the error that double would round away, for sums of k products of unit size.
void ExpectProduct(const std::vector<float>& got, const std::vector<double>& want, int k) {
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_TRUE(std::abs(got[i] - want[i]) <= 2e-6 * k) << "element " << i;
  }
}

class SimdTest : public testing::TargetTest {};

TEST_P(SimdTest, ProductEqualsPlainLoopsAtOddShapes) {
  testing::Rng rng(11);
  for (int trial = 0; trial < 150; ++trial) {
    const int m = testing::Between(rng, 1, 25), n = kLanes * testing::Between(rng, 1, 6),
              k = testing::Between(rng, 1, 70);
    const auto a = testing::Gaussian(rng, m * k), b = testing::Gaussian(rng, n * k);
    std::vector<double> want(m * n);
    for (int i = 0; i < m; ++i) {
      for (int j = 0; j < n; ++j) {
        for (int p = 0; p < k; ++p) want[i * n + j] += static_cast<double>(a[i * k + p]) * b[p * n + j];
      }
    }
    std::vector<float> c(m * n, NAN);
    GemmNN(m, n, k, a.data(), k, b.data(), n, c.data(), n, false);
    ExpectProduct(c, want, k);
    for (int i = 0; i < m; ++i) {
      std::vector<float> row(n, NAN);
      GemmNN(1, n, k, a.data() + i * k, k, b.data(), n, row.data(), n, false);
      ASSERT_TRUE(std::equal(row.begin(), row.end(), c.begin() + i * n)) << "row " << i << " of " << m;
    }
    c.assign(m * n, 1);
    GemmNN(m, n, k, a.data(), k, b.data(), n, c.data(), n, true);
    for (double& x : want) x += 1;
    ExpectProduct(c, want, k);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, SimdTest, ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& param) { return hwy::TargetName(param.param); });

}  // namespace
}  // namespace kvcapsule
