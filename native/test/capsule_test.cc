#include <gtest/gtest.h>

#include <cstring>

#include "scene.h"

namespace kvcapsule {
namespace {

using testing::Between;
using testing::RandomFormat;
using testing::Scene;

TEST(CapsuleTest, StoresKeptKeysExactlyAndProjectedValues) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
    const double tolerance = dtype == Dtype::kF32 ? 1e-5 : dtype == Dtype::kF16 ? 2e-3 : 2e-2;
    for (uint64_t seed = 1; seed <= 6; ++seed) {
      Scene scene({3, 2, 24, dtype}, 200, seed);
      const int32_t n = Between(scene.rng, 1, 80);
      const auto format =
          RandomFormat(scene.rng, scene.pool.geometry(), n, 0.2 * static_cast<double>(seed % 5 + 1));
      scene.Open(0);
      scene.Fill(0, scene.AddSegment(0, n), n);
      const RawSegment source = std::get<RawSegment>(scene.table.at(0).segments[0]);
      scene.Compress(0, 0, format, {});
      const auto& capsule = std::get<CapsuleSegment>(scene.table.at(0).segments[0]);
      for (int32_t i = 0; i < 6; ++i) {
        const CapsuleHead& head = format->profile().head(i / 2, i % 2);
        const auto keys = testing::RawRows(scene.pool, source, n, i / 2, KvPart::kKey, i % 2);
        const auto values = testing::RawRows(scene.pool, source, n, i / 2, KvPart::kValue, i % 2);
        for (int32_t r = 0; r < head.rows; ++r) {
          std::vector<float> key(24), value(24);
          ToFloat(dtype, format->Row(scene.pool, capsule, i / 2, KvPart::kKey, i % 2, r), 24, key.data());
          ToFloat(dtype, format->Row(scene.pool, capsule, i / 2, KvPart::kValue, i % 2, r), 24, value.data());
          for (int32_t c = 0; c < 24; ++c) {
            ASSERT_EQ(key[c], keys[head.mask[r] * 24 + c]);
            double want = 0;
            for (int32_t t = 0; t < n; ++t)
              want += static_cast<double>(head.basis[r * n + t]) * (values[t * 24 + c] - head.mean[c]);
            ASSERT_TRUE(std::abs(value[c] - want) <= tolerance * (1 + std::abs(want)));
          }
        }
      }
    }
  }
}

TEST(CapsuleTest, ReadsBackInRunsOfWholeRows) {
  Scene scene({3, 2, 8, Dtype::kF16}, 300, 4);
  const auto format = RandomFormat(scene.rng, scene.pool.geometry(), 64, 1.0);  // several blocks long
  scene.Open(0);
  scene.Fill(0, scene.AddSegment(0, 64), 64);
  scene.Compress(0, 0, format, {});
  const auto& capsule = std::get<CapsuleSegment>(scene.table.at(0).segments[0]);
  ASSERT_GT(capsule.pages.size(), 16u);
  int32_t runs = 0;
  for (int32_t i = 0; i < 12; ++i) {
    const auto part = static_cast<KvPart>(i % 2);
    int32_t next = 0;
    format->VisitRuns(
        scene.pool, capsule, i / 4, part, i / 2 % 2, [&](int32_t first, int32_t count, const uint8_t* bytes) {
          ASSERT_EQ(first, next);
          for (int32_t r = 0; r < count; ++r) {
            ASSERT_EQ(bytes + r * 16, format->Row(scene.pool, capsule, i / 4, part, i / 2 % 2, first + r));
          }
          next += count;
          ++runs;
        });
    ASSERT_EQ(next, format->profile().head(i / 4, i / 2 % 2).rows);
  }
  EXPECT_GT(runs, 12) << "some head's rows lie over two blocks";
}

TEST(CapsuleTest, NamesCodecProfileAndTokensInItsFirstBytes) {
  Scene scene({1, 1, 16, Dtype::kBF16}, 40, 4);
  const auto format = RandomFormat(scene.rng, scene.pool.geometry(), 20, 0.5);
  scene.Open(0);
  scene.Fill(0, scene.AddSegment(0, 20), 20);
  scene.Compress(0, 0, format, {});
  CapsuleHeader header;
  std::memcpy(&header, scene.pool.Page(std::get<CapsuleSegment>(scene.table.at(0).segments[0]).pages[0]),
              sizeof header);
  EXPECT_EQ(std::string(header.magic, 8), "KVCAPSUL");
  EXPECT_EQ(header.version, 2u);
  EXPECT_EQ(header.codec, 0u);
  EXPECT_EQ(header.dtype, 2u);
  EXPECT_EQ(header.tokens, 20u);
  EXPECT_EQ(header.profile_hash, 0xaab5ce126d477a82u) << "FNV-1a of the profile's id, random";
}

TEST(CapsuleTest, CountsItsHeaderAndEveryRow) {
  testing::Rng rng(1);
  const KvGeometry geometry{6, 4, 64, Dtype::kF16};
  const auto format = RandomFormat(rng, geometry, 272, 0.4);
  int64_t rows = 1;  // the header takes less than one row of 128 bytes
  for (const auto& head : format->profile().heads) rows += 2 * head.rows;
  EXPECT_EQ(format->Bytes(272), rows * 128);
  EXPECT_EQ(format->Pages(272), (rows * 128 + geometry.PageBytes() - 1) / geometry.PageBytes());
  // The demo's picture: 17 blocks raw, 2.5 times less at 0.40 of the rows.
  EXPECT_LE(format->Pages(272), 17 * 8 * 0.41);
}

TEST(CapsuleTest, FullRankReproducesRawAttention) {
  Scene scene({2, 2, 64, Dtype::kF32}, 100, 9);
  testing::Rng rng(10);
  const auto queries = testing::Gaussian(rng, 5 * 4 * 64, 2);
  scene.Open(0);
  scene.Fill(0, scene.AddSegment(0, 61), 61);
  scene.Fill(0, scene.AddSegment(0, 12), 12);
  const auto attend = [&](int32_t own) {
    const AttentionChunk chunk{0, own, 0, 5, 7};
    std::vector<float> out(queries.size());
    CapsuleOperators operators;
    AttentionStep(scene.pool, scene.table, {&chunk, 1}, {4, 0.125f}, &operators).Run(0, queries.data(), out.data());
    return out;
  };
  const auto raw = attend(1);
  scene.Compress(0, 0, testing::IdentityFormat(scene.pool.geometry(), 58), {0, 30, 60});
  ASSERT_EQ(scene.table.at(0).segments.size(), 3u);
  const auto capsule = attend(2);
  for (size_t i = 0; i < raw.size(); ++i) ASSERT_TRUE(std::abs(raw[i] - capsule[i]) <= 1e-5);
}

}  // namespace
}  // namespace kvcapsule
