#include <gtest/gtest.h>

#include <numeric>

#include "fit/gram.h"
#include "fit/outer_product.h"
#include "kvcapsule/error.h"
#include "scene.h"
#include "targets.h"

namespace kvcapsule {
namespace {

using testing::Between;
using testing::Gaussian;
using testing::Rng;

constexpr int32_t kTokens = 40, kDim = 16;

// Writes one picture's rows, [kTokens][kDim] for the only layer and head, into a fresh raw segment.
struct Pictures {
  explicit Pictures(Dtype dtype = Dtype::kF32) : pool({1, 1, kDim, dtype}, 8), table(&pool, 2) {
    std::vector<int32_t> ops = {1, 0, 0, 3, 0, 0, 4, 0, 4, 0, 0, 1, 2};
    table.Apply(ops, {});
  }
  RawSegment& Write(const std::vector<float>& keys, const std::vector<float>& values) {
    const AttentionChunk chunk{0, 0, 0, static_cast<int32_t>(keys.size()) / kDim, 0};
    WriteKv(pool, table, {&chunk, 1}, 0, keys.data(), values.data(), 0, 1);
    auto& raw = std::get<RawSegment>(table.at(0).segments[0]);
    raw.tokens = chunk.rows;
    return raw;
  }
  KvPool pool;
  SequenceTable table;
};

std::vector<int32_t> AllRows(int32_t count = kTokens) {
  std::vector<int32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

// rank directions over the tokens, the same for every picture; each picture mixes them anew.
std::vector<float> LowRank(Rng& rng, const std::vector<float>& directions, int32_t rank) {
  const auto mix = Gaussian(rng, static_cast<int64_t>(rank) * kDim);
  std::vector<float> rows(kTokens * kDim);
  for (int32_t t = 0; t < kTokens; ++t) {
    for (int32_t r = 0; r < rank; ++r) {
      for (int32_t c = 0; c < kDim; ++c) rows[t * kDim + c] += directions[t * rank + r] * mix[r * kDim + c];
    }
  }
  return rows;
}

std::vector<float> Add(std::vector<float> rows, const std::vector<float>& per_channel) {
  for (size_t i = 0; i < rows.size(); ++i) rows[i] += per_channel[i % kDim];
  return rows;
}

// Relative squared error of one reconstructed picture.
double ReconstructionError(Pictures& pictures, const CapsuleProfile& fitted, KvPart part,
                           const std::vector<float>& want) {
  const auto format = std::make_shared<CapsuleFormat>(pictures.pool.geometry(),
                                                      std::make_shared<CapsuleProfile>(fitted));
  CapsuleSegment capsule{format, {}, kTokens, 0};
  for (int32_t p = 0; p < format->Pages(kTokens); ++p) capsule.pages.push_back(32 + p);
  const auto& raw = std::get<RawSegment>(pictures.table.at(0).segments[0]);
  format->Encode(pictures.pool, raw, AllRows(), capsule);
  std::vector<float> got(want.size());
  format->Decode(pictures.pool, capsule, 0, part, 0, got.data());
  double error = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    size += want[i] * want[i];
  }
  return error / size;
}

TEST(FitTest, RecoversLowRankPicturesExactly) {
  constexpr int32_t kRank = 6;
  Rng rng(1);
  Pictures pictures;
  GramAccumulator gram(pictures.pool.geometry(), kTokens);
  const auto key_directions = Gaussian(rng, kTokens * kRank),
             value_directions = Gaussian(rng, kTokens * kRank);
  const auto mean = Gaussian(rng, kDim, 5);
  const auto key = [&] { return LowRank(rng, key_directions, kRank); };
  const auto value = [&] { return Add(LowRank(rng, value_directions, kRank), mean); };
  for (int32_t i = 0; i < 30; ++i) gram.Add(pictures.pool, pictures.Write(key(), value()), AllRows());
  EXPECT_EQ(gram.pictures(), 30);
  // One row more than the rank: the fitted mean is of a sample and leaves a constant row over.
  const auto enough = gram.Fit({{(kRank + 1.0f) / kTokens}, 1e-9f});
  const auto too_few = gram.Fit({{(kRank - 1.0f) / kTokens}, 1e-9f});
  EXPECT_EQ(enough.head(0, 0).rows, kRank + 1);
  const auto keys = key(), values = value();  // a picture the fit has not seen
  pictures.Write(keys, values);
  EXPECT_LT(ReconstructionError(pictures, enough, KvPart::kKey, keys), 1e-8);
  EXPECT_LT(ReconstructionError(pictures, enough, KvPart::kValue, values), 1e-8);
  EXPECT_GT(ReconstructionError(pictures, too_few, KvPart::kKey, keys), 1e-3);
  EXPECT_GT(ReconstructionError(pictures, too_few, KvPart::kValue, values), 1e-4);
}

TEST(FitTest, ErrorFallsAsMoreRowsAreKept) {
  Rng rng(2);
  Pictures pictures;
  GramAccumulator gram(pictures.pool.geometry(), kTokens);
  // Smooth spectra: directions fade one by one.
  auto directions = Gaussian(rng, kTokens * kTokens);
  for (int32_t i = 0; i < kTokens * kTokens; ++i)
    directions[i] *= std::pow(0.85f, static_cast<float>(i % kTokens));
  for (int32_t i = 0; i < 60; ++i) {
    gram.Add(pictures.pool,
             pictures.Write(LowRank(rng, directions, kTokens), LowRank(rng, directions, kTokens)), AllRows());
  }
  const auto keys = LowRank(rng, directions, kTokens), values = LowRank(rng, directions, kTokens);
  pictures.Write(keys, values);
  double last_key = 1, last_value = 1;
  for (const float retention : {0.1f, 0.2f, 0.4f, 0.6f, 0.8f, 1.0f}) {
    const auto profile = gram.Fit({{retention}, 1e-6f});
    const double key = ReconstructionError(pictures, profile, KvPart::kKey, keys);
    const double value = ReconstructionError(pictures, profile, KvPart::kValue, values);
    EXPECT_LT(key, last_key) << retention;
    EXPECT_LT(value, last_value) << retention;
    last_key = key;
    last_value = value;
  }
  EXPECT_LT(last_key, 1e-10) << "all rows kept";
  EXPECT_LT(last_value, 1e-10);
}

TEST(FitTest, KeepsNoKeyThatOthersAlreadyExplain) {
  Rng rng(3);
  Pictures pictures;
  GramAccumulator gram(pictures.pool.geometry(), kTokens);
  for (int32_t i = 0; i < 10; ++i) {
    // Rows 0..37 are one strong direction; 38 and 39 are weak and each its own.
    const auto strong = Gaussian(rng, kDim), weak = Gaussian(rng, 2 * kDim, 0.1f);
    std::vector<float> keys;
    for (int32_t t = 0; t < 38; ++t) {
      for (const float x : strong) keys.push_back(x * (1 + 0.01f * static_cast<float>(t)));
    }
    keys.insert(keys.end(), weak.begin(), weak.end());
    gram.Add(pictures.pool, pictures.Write(keys, keys), AllRows());
  }
  EXPECT_EQ(gram.Fit({{3.0f / kTokens}}).head(0, 0).mask, (std::vector<int32_t>{37, 38, 39}));
}

TEST(FitTest, ShapesFollowTheRetentionOfEachLayer) {
  testing::Scene scene({3, 2, 24, Dtype::kF16}, 20, 5);
  scene.Open(0);
  scene.Fill(0, scene.AddSegment(0, 33), 33);
  GramAccumulator gram(scene.pool.geometry(), 30);
  std::vector<int32_t> covered = AllRows(33);
  covered.erase(covered.begin() + 10, covered.begin() + 13);
  gram.Add(scene.pool, std::get<RawSegment>(scene.table.at(0).segments[0]), covered);
  const auto profile = gram.Fit({{1.0f, 0.1f, 0.34f}});
  const int32_t rows[] = {30, 3, 11};
  EXPECT_EQ(profile.tokens, 30);
  ASSERT_EQ(profile.heads.size(), 6u);
  for (int32_t i = 0; i < 6; ++i) {
    const CapsuleHead& head = profile.head(i / 2, i % 2);
    const int32_t m = rows[i / 2];
    ASSERT_EQ(head.rows, m);
    ASSERT_EQ(head.mask.size(), static_cast<size_t>(m));
    ASSERT_EQ(head.theta.size(), static_cast<size_t>(m) * 30);
    ASSERT_EQ(head.basis.size(), static_cast<size_t>(m) * 30);
    ASSERT_EQ(head.mean.size(), 24u);
    EXPECT_TRUE(std::adjacent_find(head.mask.begin(), head.mask.end(), std::greater_equal<>()) ==
                head.mask.end());
    EXPECT_TRUE(head.mask.front() >= 0 && head.mask.back() < 30);
    for (int32_t a = 0; a < m; ++a) {
      EXPECT_EQ(head.theta[a * 30 + head.mask[a]], 1) << "a kept row stands for itself";
      for (int32_t b = 0; b <= a; ++b) {
        double dot = 0;
        for (int32_t t = 0; t < 30; ++t)
          dot += static_cast<double>(head.basis[a * 30 + t]) * head.basis[b * 30 + t];
        ASSERT_NEAR(dot, a == b, 1e-5) << "orthonormal rows";
      }
    }
  }
}

// Rotates channel pairs (c, c + half) of every row by one angle per pair, as RoPE at a common offset does.
std::vector<float> Rotate(const std::vector<float>& rows, int32_t offset) {
  auto rotated = rows;
  for (size_t t = 0; t < rows.size() / kDim; ++t) {
    for (int32_t c = 0; c < kDim / 2; ++c) {
      const double angle = offset * std::pow(10000.0, -2.0 * c / kDim);
      const double x = rows[t * kDim + c], y = rows[t * kDim + c + kDim / 2];
      rotated[t * kDim + c] = static_cast<float>(x * std::cos(angle) - y * std::sin(angle));
      rotated[t * kDim + c + kDim / 2] = static_cast<float>(x * std::sin(angle) + y * std::cos(angle));
    }
  }
  return rotated;
}

TEST(FitTest, KeysFittedAtOneOffsetServeEveryOffset) {
  Rng rng(6);
  Pictures pictures;
  GramAccumulator here(pictures.pool.geometry(), kTokens), there(pictures.pool.geometry(), kTokens);
  auto directions = Gaussian(rng, kTokens * kTokens);
  for (int32_t i = 0; i < kTokens * kTokens; ++i)
    directions[i] *= std::pow(0.8f, static_cast<float>(i % kTokens));
  for (int32_t i = 0; i < 40; ++i) {
    const auto keys = LowRank(rng, directions, kTokens);
    here.Add(pictures.pool, pictures.Write(keys, keys), AllRows());
    there.Add(pictures.pool, pictures.Write(Rotate(keys, Between(rng, 1, 4000)), keys), AllRows());
  }
  const auto a = here.Fit({{0.3f}}), b = there.Fit({{0.3f}});
  EXPECT_EQ(a.head(0, 0).mask, b.head(0, 0).mask);
  for (size_t i = 0; i < a.head(0, 0).theta.size(); ++i)
    ASSERT_NEAR(a.head(0, 0).theta[i], b.head(0, 0).theta[i], 2e-3);
  const auto keys = LowRank(rng, directions, kTokens), moved = Rotate(keys, 1234);
  pictures.Write(keys, keys);
  const double still = ReconstructionError(pictures, a, KvPart::kKey, keys);
  pictures.Write(moved, keys);
  EXPECT_NEAR(ReconstructionError(pictures, a, KvPart::kKey, moved), still, 0.01 * still);
}

TEST(FitTest, DegenerateStatisticsStillGiveAFiniteProfile) {
  Pictures pictures;
  GramAccumulator gram(pictures.pool.geometry(), kTokens);
  gram.Add(pictures.pool,
           pictures.Write(std::vector<float>(kTokens * kDim), std::vector<float>(kTokens * kDim)), AllRows());
  const auto profile = gram.Fit({{0.5f}, 0});
  for (const float x : profile.head(0, 0).theta) ASSERT_TRUE(std::isfinite(x));
  for (const float x : profile.head(0, 0).basis) ASSERT_TRUE(std::isfinite(x));
  EXPECT_EQ(profile.head(0, 0).mask, AllRows(20));
}

TEST(FitTest, RefusesWhatDoesNotFit) {
  Pictures pictures;
  Rng rng(1);
  auto& raw = pictures.Write(Gaussian(rng, kTokens * kDim), Gaussian(rng, kTokens * kDim));
  EXPECT_THROW(GramAccumulator(pictures.pool.geometry(), 0), Error);
  GramAccumulator gram(pictures.pool.geometry(), kTokens);
  EXPECT_THROW(gram.Fit({{0.5f}}), Error) << "nothing added";
  EXPECT_THROW(gram.Add(pictures.pool, raw, AllRows(39)), Error);
  auto twice = AllRows();
  twice[5] = 4;
  EXPECT_THROW(gram.Add(pictures.pool, raw, twice), Error);
  auto outside = AllRows();
  outside.back() = kTokens;
  EXPECT_THROW(gram.Add(pictures.pool, raw, outside), Error);
  EXPECT_EQ(gram.pictures(), 0);
  gram.Add(pictures.pool, raw, AllRows());
  for (const std::vector<float>& retention :
       {std::vector<float>{}, {0.5f, 0.5f}, {0.0f}, {1.1f}, {NAN}, {-0.5f}}) {
    EXPECT_THROW(gram.Fit({retention}), Error);
  }
}

class OuterProductTest : public testing::TargetTest {};

TEST_P(OuterProductTest, IsThatOfPlainLoopsBelowTheDiagonal) {
  Rng rng(23);
  for (int32_t trial = 0; trial < 60; ++trial) {
    const int32_t n = Between(rng, 1, 70), dim = Between(rng, 1, 20);
    const auto rows = Gaussian(rng, int64_t{n} * dim);
    std::vector<double> gram(int64_t{n} * n, 0.5);
    AddOuterProduct(rows.data(), n, dim, gram.data());
    for (int32_t i = 0; i < n; ++i) {
      for (int32_t j = 0; j < n; ++j) {
        double want = 0.5;
        for (int32_t c = 0; c < dim && j <= i; ++c) want += static_cast<double>(rows[i * dim + c]) * rows[j * dim + c];
        ASSERT_NEAR(gram[i * n + j], want, 1e-12) << n << " x " << dim << " at " << i << ", " << j;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, OuterProductTest, ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& param) { return hwy::TargetName(param.param); });

}  // namespace
}  // namespace kvcapsule
