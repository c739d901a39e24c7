#include "fit/packed_fit.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <numeric>

#include "fit/attention_statistics.h"
#include "fit/statistics_file.h"
#include "kvcapsule/error.h"
#include "scene.h"

namespace kvcapsule {
namespace {

using testing::Gaussian;
using testing::Scene;

constexpr int32_t kTokens = 48, kDim = 16, kGroups = 4;
const KvGeometry kGeometry{2, 1, kDim, Dtype::kF32};

// Pictures whose rows share fading directions over the tokens of each group, around a mean of their own.
class Pictures {
 public:
  explicit Pictures(uint64_t seed)
      : scene(kGeometry, 64, seed), directions_(Gaussian(scene.rng, 4 * kTokens * 12)) {
    for (int32_t i = 0; i < kTokens; ++i) groups.push_back(i * kGroups / kTokens);
    mean_ = Gaussian(scene.rng, 4 * kTokens * kDim, 2);
    scene.Open(0);
    scene.Fill(0, scene.AddSegment(0, 5), 5);
    segment_ = scene.AddSegment(0, kTokens);
  }

  // Writes the next picture into the same blocks.
  const RawSegment& Next() {
    auto& raw = std::get<RawSegment>(scene.table.at(0).segments[segment_]);
    const AttentionChunk chunk{0, segment_, 0, kTokens, 0};
    for (int32_t layer = 0; layer < 2; ++layer) {
      auto keys = Rows(layer * 2), values = Rows(layer * 2 + 1);
      RotateRows(keys.data(), kTokens, kDim, kDim, 10000, 5);
      WriteKv(scene.pool, scene.table, {&chunk, 1}, layer, keys.data(), values.data(), 0, 1);
    }
    raw.tokens = kTokens;
    return raw;
  }

  GramAccumulator Statistics(int32_t pictures) {
    GramAccumulator statistics(kGeometry, kTokens, 10000);
    for (int32_t i = 0; i < pictures; ++i) statistics.Add(scene.pool, Next(), AllRows(), 5);
    return statistics;
  }

  // Squared error of a fresh picture's parts, weighted by row, relative to its size about the mean.
  double Error(const PackedProfile& profile,
               const std::vector<float>& weights = std::vector<float>(kTokens, 1)) {
    const RawSegment raw = Next();
    const auto format = std::make_shared<PackedFormat>(kGeometry, profile);
    const CapsuleSegment capsule{format, scene.TakePages(format->Pages(kTokens)), kTokens, 5};
    format->Encode(scene.pool, raw, AllRows(), capsule);
    double error = 0, size = 0;
    for (int32_t i = 0; i < 4; ++i) {
      const auto want = testing::RawRows(scene.pool, raw, kTokens, i / 2, static_cast<KvPart>(i % 2), 0);
      std::vector<float> got(want.size());
      format->Decode(scene.pool, capsule, i / 2, static_cast<KvPart>(i % 2), 0, got.data());
      for (size_t k = 0; k < want.size(); ++k) {
        const double weight = weights[k / kDim];
        error += weight * weight * std::pow(static_cast<double>(got[k]) - want[k], 2);
        size += want[k] * want[k];
      }
    }
    scene.GiveBack(capsule.pages);
    return error / size;
  }

  static std::vector<int32_t> AllRows() {
    std::vector<int32_t> rows(kTokens);
    std::iota(rows.begin(), rows.end(), 0);
    return rows;
  }

  PackedFitOptions Options(int64_t bytes) const {
    PackedFitOptions options;
    options.groups = groups;
    options.marker_rows = {0, 20};
    options.bytes = bytes;
    options.rope_theta = 10000;
    return options;
  }

  Scene scene;
  std::vector<int32_t> groups;

 private:
  std::vector<float> Rows(int32_t part) {
    std::vector<float> rows(mean_.begin() + part * kTokens * kDim,
                            mean_.begin() + (part + 1) * kTokens * kDim);
    for (int32_t g = 0; g < kGroups; ++g) {
      // Busy tiles and quiet ones, elsewhere in every picture.
      const float strength = std::exp2(std::normal_distribution<float>(0, 1)(scene.rng));
      for (int32_t r = 0; r < 12; ++r) {
        const auto mix = Gaussian(scene.rng, kDim, strength * std::pow(0.6f, static_cast<float>(r)));
        for (int32_t i = 0; i < kTokens; ++i) {
          if (groups[i] != g) continue;
          const float along = directions_[(part * kTokens + i) * 12 + r];
          for (int32_t c = 0; c < kDim; ++c) rows[i * kDim + c] += along * mix[c];
        }
      }
    }
    return rows;
  }

  std::vector<float> directions_, mean_;
  int32_t segment_ = 0;
};

TEST(PackedFitTest, ErrorFallsAsCapsulesGrowAndEndsNearZero) {
  Pictures pictures(1);
  const auto statistics = pictures.Statistics(60);
  double last = 1;
  for (const int64_t bytes : {200, 300, 500, 900, 1600, 3200}) {
    const auto profile = FitPacked(statistics, pictures.Options(bytes));
    EXPECT_LE(PackedFormat(kGeometry, profile).Bytes(kTokens), bytes);
    const double error = pictures.Error(profile);
    EXPECT_LT(error, last) << bytes;
    last = error;
  }
  EXPECT_LT(last, 2e-4);
}

TEST(PackedFitTest, EveryPartOfTheMethodPays) {
  Pictures pictures(2);
  const auto statistics = pictures.Statistics(80);
  const auto error = [&](const std::function<void(PackedFitOptions&)>& change) {
    auto options = pictures.Options(480);
    change(options);
    double sum = 0;
    const auto profile = FitPacked(statistics, options);
    for (int32_t i = 0; i < 6; ++i) sum += pictures.Error(profile);
    return sum;
  };
  const double best = error([](auto&) {});
  EXPECT_GT(error([](auto& o) { o.bits_kind = BitsKind::kStatic; }), 1.1 * best);
  EXPECT_GT(error([](auto& o) { o.basis = BasisKind::kRows; }), 2 * best);
  EXPECT_GT(error([](auto& o) { o.key_template = o.value_template = TemplateKind::kNone; }), 1.5 * best);
  EXPECT_GT(error([](auto& o) { o.key_template = o.value_template = TemplateKind::kMarkers; }), 1.5 * best);
  EXPECT_GT(error([](auto& o) {
              o.bits_kind = BitsKind::kEqual;
              o.bits = 4;
            }),
            1.2 * best);
}

TEST(PackedFitTest, HeavyRowsErrLess) {
  Pictures pictures(3);
  const auto statistics = pictures.Statistics(60);
  std::vector<float> weights(kTokens, 0.6f);
  for (int32_t i = 0; i < kTokens; i += 4) weights[i] = 1.7f;
  auto options = pictures.Options(400);
  const auto plain = FitPacked(statistics, options);
  options.weights.assign(4, weights);
  const auto weighted = FitPacked(statistics, options);
  double before = 0, after = 0;
  for (int32_t i = 0; i < 8; ++i) {
    before += pictures.Error(plain, weights);
    after += pictures.Error(weighted, weights);
  }
  EXPECT_LT(after, 0.97 * before);
}

TEST(PackedFitTest, DearPartsGetTheBits) {
  Pictures pictures(4);
  const auto statistics = pictures.Statistics(40);
  auto options = pictures.Options(480);
  options.bits_kind = BitsKind::kStatic;
  const auto bits = [](const PackedPart& part) {
    return std::accumulate(part.bits.begin(), part.bits.end(), 0);
  };
  options.sensitivities = {1, 1, 1, 1};
  const auto even = FitPacked(statistics, options);
  options.sensitivities = {100, 1, 1, 1};
  const auto skewed = FitPacked(statistics, options);
  EXPECT_GT(bits(skewed.parts[0]), 1.3 * bits(even.parts[0]));
  EXPECT_LT(bits(skewed.parts[3]), bits(even.parts[3]));
}

TEST(PackedFitTest, RowsThatCostAreFewer) {
  Pictures pictures(8);
  const auto statistics = pictures.Statistics(40);
  auto options = pictures.Options(480);
  const auto rows = [&](double candidates, float row_cost) {
    options.candidates = candidates;
    options.row_cost = row_cost;
    const PackedProfile profile = FitPacked(statistics, options);
    EXPECT_EQ(profile.row_cost, row_cost);
    int32_t sum = 0;
    for (const PackedPart& part : profile.parts) sum += part.rank();
    return sum;
  };
  EXPECT_LT(rows(1.2, 0), rows(2, 0));
  EXPECT_LT(rows(1.7, 2), rows(1.7, 0));
}

TEST(PackedFitTest, EqualStatisticsGiveEqualProfiles) {
  Pictures pictures(5);
  const auto statistics = pictures.Statistics(20);
  const auto one = FitPacked(statistics, pictures.Options(600)),
             other = FitPacked(statistics, pictures.Options(600));
  EXPECT_EQ(one.transform, other.transform);
  for (size_t i = 0; i < one.parts.size(); ++i) {
    EXPECT_EQ(one.parts[i].basis, other.parts[i].basis);
    EXPECT_EQ(one.parts[i].deviations, other.parts[i].deviations);
  }
}

TEST(PackedFitTest, RefusesWhatDoesNotFit) {
  Pictures pictures(6);
  const auto statistics = pictures.Statistics(4);
  const std::function<void(PackedFitOptions&)> faults[] = {
      [](auto& o) { o.groups.pop_back(); },
      [](auto& o) { o.groups[0] = kTokens; },
      [](auto& o) { std::fill(o.groups.begin(), o.groups.end(), 1); },
      [](auto& o) {
        o.marker_rows = {3, 2};
      },
      [](auto& o) { o.bits = 9; },
      [](auto& o) { o.bits_kind = BitsKind::kLeading; },
      [](auto& o) { o.bytes = 60; },
      [](auto& o) { o.candidates = 0.9; },
      [](auto& o) { o.row_cost = -1; },
      [](auto& o) { o.sensitivities = {1}; },
      [](auto& o) {
        o.sensitivities = {1, 1, 1, NAN};
      },
      [](auto& o) { o.weights.assign(3, std::vector<float>(kTokens, 1)); },
  };
  for (const auto& fault : faults) {
    auto options = pictures.Options(600);
    fault(options);
    EXPECT_THROW(FitPacked(statistics, options), Error);
  }
  EXPECT_THROW(FitPacked(GramAccumulator(kGeometry, kTokens, 10000), pictures.Options(600)), Error);
  EXPECT_THROW(ParseTemplate("some"), Error);
  EXPECT_EQ(ParseTemplate("group"), TemplateKind::kGroup);
  EXPECT_EQ(ParseBits("equal"), BitsKind::kEqual);
  EXPECT_EQ(ParseBasis("rows"), BasisKind::kRows);
}

TEST(StatisticsFileTest, GoesOnWhereItStoppedAndRefusesOtherFiles) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("statistics-" + std::to_string(getpid()));
  Pictures pictures(7);
  GramAccumulator whole(kGeometry, kTokens, 10000);
  Statistics first, second;
  first.grams.try_emplace(kTokens, kGeometry, kTokens, 10000);
  // Pictures of another grid lie beside them.
  first.grams.try_emplace(7, kGeometry, 7, 10000).first->second.set_pictures(3);
  for (int32_t i = 0; i < 6; ++i) {
    const RawSegment& raw = pictures.Next();
    whole.Add(pictures.scene.pool, raw, Pictures::AllRows(), 5);
    if (i < 4) first.grams.at(kTokens).Add(pictures.scene.pool, raw, Pictures::AllRows(), 5);
    if (i == 3) {
      SaveStatistics(path, first);
      second = LoadStatistics(path, kGeometry, 10000);
      ASSERT_EQ(second.grams.size(), 2u);
      EXPECT_EQ(second.grams.at(kTokens).pictures(), 4);
      EXPECT_EQ(second.grams.at(7).pictures(), 3);
    }
    if (i >= 4) second.grams.at(kTokens).Add(pictures.scene.pool, raw, Pictures::AllRows(), 5);
  }
  const auto one = FitPacked(whole, pictures.Options(500));
  const auto other = FitPacked(second.grams.at(kTokens), pictures.Options(500));
  for (size_t i = 0; i < one.parts.size(); ++i) EXPECT_EQ(one.parts[i].basis, other.parts[i].basis);

  const auto load = [&path] { LoadStatistics(path, kGeometry, 10000); };
  EXPECT_THROW(LoadStatistics(path, {3, 1, kDim, Dtype::kF32}, 10000), Error);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 8);
  EXPECT_THROW(load(), Error);
  std::filesystem::resize_file(path, 10);
  EXPECT_THROW(load(), Error);
  std::filesystem::remove(path);
  EXPECT_THROW(load(), Error);
}

TEST(AttentionStatisticsTest, RowsThatAreLookedAtWeighMore) {
  Scene scene({1, 2, kDim, Dtype::kF32}, 40, 9);
  scene.Open(0);
  scene.Fill(0, scene.AddSegment(0, 6), 6);
  scene.Fill(0, scene.AddSegment(0, 30), 30);
  scene.Fill(0, scene.AddSegment(0, 8), 8);
  AttentionStatistics statistics(scene.pool.geometry(), 30);
  EXPECT_EQ(statistics.Weights(0), std::vector<float>(30, 1));
  // Both heads of each group ask for row 11 of the span.
  const auto& span = std::get<RawSegment>(scene.table.at(0).segments[1]);
  std::vector<float> queries;
  for (int32_t r = 0; r < 8; ++r) {
    for (int32_t head = 0; head < 4; ++head) {
      const auto keys = testing::RawRows(scene.pool, span, 30, 0, KvPart::kKey, head / 2);
      for (int32_t c = 0; c < kDim; ++c) queries.push_back(keys[11 * kDim + c]);
    }
  }
  const AttentionChunk chunk{0, 2, 0, 8, 0};
  statistics.Add(scene.pool, scene.table.at(0), 1, chunk, {4, 1.0f}, 0, queries.data());
  for (int32_t part = 0; part < 4; ++part) {
    const auto weights = statistics.Weights(part);
    double squares = 0;
    for (const float w : weights) squares += static_cast<double>(w) * w;
    EXPECT_NEAR(squares, 30, 1e-3);
    if (part % 2 == 1) {
      EXPECT_EQ(std::max_element(weights.begin(), weights.end()) - weights.begin(), 11);
    }
    EXPECT_GT(*std::min_element(weights.begin(), weights.end()), 0.05);
  }
}

}  // namespace
}  // namespace kvcapsule
