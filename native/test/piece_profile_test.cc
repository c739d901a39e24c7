#include "kv/codec/packed/piece_profile.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <numeric>

#include "fit/piece_fit.h"
#include "kv/codec/registry.h"
#include "kvcapsule/error.h"
#include "scene.h"

namespace kvcapsule {
namespace {

using testing::Gaussian;
using testing::Rng;
using testing::Scene;

constexpr int32_t kDim = 16;
constexpr float kTheta = 10000;
const KvGeometry kGeometry{2, 1, kDim, Dtype::kF32};

// Kinds: a tile of 8 rows, a whole view of 6, markers before a tile (2), and the marker at the end (1). Sites: tiles
// and their markers at four places of a grid, the view with its markers, the end.
const std::vector<int32_t> kKindRows = {8, 6, 2, 1}, kKindMarkers = {0, 0, 1, 1};
const std::vector<int32_t> kSites = {0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 3};

// Pictures of the first so many tiles and the view.
std::vector<int32_t> Grid(int32_t tiles) {
  std::vector<int32_t> sites;
  for (int32_t tile = 0; tile < tiles; ++tile) {
    sites.push_back(5 + tile);
    sites.push_back(tile);
  }
  for (const int32_t site : {9, 4, 10}) sites.push_back(site);
  return sites;
}
int32_t TokensOf(int32_t tiles) { return tiles * 10 + 9; }

// The rows of a picture: pieces of one kind vary along the same directions over their rows, about a mean of their
// site, whatever the grid; keys are turned to where the piece stands.
class Pictures {
 public:
  explicit Pictures(uint64_t seed) : scene_(kGeometry, 64, seed) {
    for (int32_t part = 0; part < 4; ++part) {
      for (const int32_t rows : kKindRows) directions_.push_back(Gaussian(scene_.rng, rows * 4));
      for (const int32_t kind : kSites) means_.push_back(Gaussian(scene_.rng, kKindRows[kind] * kDim, 2));
    }
    scene_.Open(0);
    scene_.Fill(0, scene_.AddSegment(0, 5), 5);
  }

  // [part][tokens][dim], keys at position 0 of the span.
  std::vector<std::vector<float>> Draw(int32_t tiles) {
    std::vector<std::vector<float>> parts;
    for (int32_t part = 0; part < 4; ++part) {
      std::vector<float>& rows = parts.emplace_back();
      for (const int32_t site : Grid(tiles)) {
        const int32_t kind = kSites[site];
        std::vector<float> piece = means_[part * kSites.size() + site];
        for (int32_t d = 0; d < 4; ++d) {
          const auto mix = Gaussian(scene_.rng, kDim, std::pow(0.5f, static_cast<float>(d)));
          for (int32_t i = 0; i < kKindRows[kind]; ++i) {
            for (int32_t c = 0; c < kDim; ++c)
              piece[i * kDim + c] += directions_[part * kKindRows.size() + kind][i * 4 + d] * mix[c];
          }
        }
        const auto place = static_cast<int32_t>(rows.size()) / kDim;
        if (part % 2 == 0) RotateRows(piece.data(), kKindRows[kind], kDim, kDim, kTheta, place);
        rows.insert(rows.end(), piece.begin(), piece.end());
      }
    }
    return parts;
  }

  // A picture in the pool, behind five tokens of text.
  RawSegment Next(int32_t tiles) {
    const int32_t tokens = TokensOf(tiles);
    if (!segments_.contains(tiles)) {
      scene_.Open(tiles);
      scene_.Fill(tiles, scene_.AddSegment(tiles, 5), 5);
      segments_[tiles] = scene_.AddSegment(tiles, tokens);
    }
    auto& raw = std::get<RawSegment>(scene_.table.at(tiles).segments[segments_[tiles]]);
    raw.tokens = 0;
    const AttentionChunk chunk{tiles, segments_[tiles], 0, tokens, 0};
    auto parts = Draw(tiles);
    for (int32_t layer = 0; layer < 2; ++layer) {
      std::vector<float>& keys = parts[layer * 2];
      RotateRows(keys.data(), tokens, kDim, kDim, kTheta, 5);
      WriteKv(scene_.pool, scene_.table, {&chunk, 1}, layer, keys.data(), parts[layer * 2 + 1].data(), 0, 1);
    }
    raw.tokens = tokens;
    return raw;
  }

  GramAccumulator Statistics(int32_t tiles, int32_t pictures) {
    GramAccumulator statistics(kGeometry, TokensOf(tiles), kTheta);
    for (int32_t i = 0; i < pictures; ++i) statistics.Add(scene_.pool, Next(tiles), Rows(tiles), 5);
    return statistics;
  }

  // Squared error of fresh pictures as a share of their size.
  double Error(const PackedProfile& profile, int32_t tiles) {
    const auto format = std::make_shared<PackedFormat>(kGeometry, profile);
    double error = 0, size = 0;
    for (int32_t picture = 0; picture < 8; ++picture) {
      const RawSegment raw = Next(tiles);
      const CapsuleSegment capsule{format, scene_.TakePages(format->Pages(raw.tokens)), raw.tokens, 5};
      format->Encode(scene_.pool, raw, Rows(tiles), capsule);
      for (int32_t i = 0; i < 4; ++i) {
        const auto part = static_cast<KvPart>(i % 2);
        const auto want = testing::RawRows(scene_.pool, raw, raw.tokens, i / 2, part, 0);
        std::vector<float> got(want.size());
        format->Decode(scene_.pool, capsule, i / 2, part, 0, got.data());
        for (size_t k = 0; k < want.size(); ++k) {
          error += std::pow(static_cast<double>(got[k]) - want[k], 2);
          size += want[k] * want[k];
        }
      }
      scene_.GiveBack(capsule.pages);
    }
    return error / size;
  }

  static std::vector<int32_t> Rows(int32_t tiles) {
    std::vector<int32_t> rows(TokensOf(tiles));
    std::iota(rows.begin(), rows.end(), 0);
    return rows;
  }

 private:
  Scene scene_;
  std::vector<std::vector<float>> directions_, means_;
  std::map<int32_t, int32_t> segments_;
};

PieceFitOptions Options(const std::vector<int32_t>& served, const std::vector<int32_t>& seen) {
  PieceFitOptions options;
  options.packed.rope_theta = kTheta;
  options.weigh_rows = false;
  options.kind_rows = kKindRows;
  options.kind_markers = kKindMarkers;
  options.sites = kSites;
  for (const int32_t tiles : served) options.layouts.push_back({Grid(tiles), 64 + 16 + 24 * TokensOf(tiles)});
  for (const int32_t tiles : seen) {
    if (std::find(served.begin(), served.end(), tiles) == served.end()) options.layouts.push_back({Grid(tiles), 0});
  }
  return options;
}

// A profile of random numbers.
PieceProfile RandomPieces(Rng& rng, bool choose_bits) {
  PieceProfile pieces;
  pieces.kinds = testing::RandomPackedProfile(rng, kGeometry, 17, {1, 1, 8, 1, 0, false, true, choose_bits});
  pieces.kinds.groups = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 3};
  pieces.kinds.marker_rows = {14, 15, 16};
  pieces.kinds.bytes = choose_bits ? 900 : 0;
  for (PackedPart& part : pieces.kinds.parts) {
    part.ranks = {5, 6, 2, 1};
    part.basis.clear();
    for (size_t k = 0; k < 4; ++k) {
      const auto basis = testing::RandomBasis(rng, part.ranks[k], kKindRows[k]);
      part.basis.insert(part.basis.end(), basis.begin(), basis.end());
    }
    part.deviations.resize(14);
    if (!choose_bits) part.bits.resize(14);
    PieceTemplates& templates = pieces.templates.emplace_back();
    // One of the tiles and all markers have rows of their own, the others a mean.
    templates.row_sites = {1, 5, 6, 7, 8, 9, 10};
    templates.rows = Gaussian(rng, 19 * kDim);
    templates.means = Gaussian(rng, static_cast<int64_t>(kSites.size()) * kDim);
  }
  pieces.sites = kSites;
  for (const int32_t tiles : {1, 3, 4}) pieces.layouts.push_back({Grid(tiles), choose_bits ? 400 + 200 * tiles : 0});
  return pieces;
}

class PieceProfileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("pieces-" + std::to_string(getpid()) + ".safetensors");
  }
  void TearDown() override { std::filesystem::remove(path_); }

  std::string path_;
};

// Rows of a span by the definition, without a profile of the span: each piece on its own from the coefficients that
// belong to it.
std::vector<float> DecodeByPieces(const PieceProfile& pieces, const PieceProfile::Layout& layout, size_t number,
                                  const std::vector<float>& coefficients, int32_t padded,
                                  const std::vector<float>& inverse) {
  const PackedPart& part = pieces.kinds.parts[number];
  const PieceTemplates& templates = pieces.templates[number];
  std::vector<int64_t> kind_begin = {0}, rank_begin = {0}, basis_begin = {0};
  for (size_t k = 0; k < kKindRows.size(); ++k) {
    kind_begin.push_back(kind_begin[k] + kKindRows[k]);
    rank_begin.push_back(rank_begin[k] + part.ranks[k]);
    basis_begin.push_back(basis_begin[k] + part.ranks[k] * kKindRows[k]);
  }
  std::vector<float> out;
  // Coefficient rows lie by group: all pieces that are no markers, then all markers.
  std::vector<int64_t> first(layout.sites.size());
  int64_t rank = 0;
  for (const int32_t marker : {0, 1}) {
    for (size_t p = 0; p < layout.sites.size(); ++p) {
      const int32_t kind = kSites[layout.sites[p]];
      if (kKindMarkers[kind] != marker) continue;
      first[p] = rank;
      rank += part.ranks[kind];
    }
  }
  for (size_t p = 0; p < layout.sites.size(); ++p) {
    const int32_t site = layout.sites[p], kind = kSites[site], rows = kKindRows[kind];
    const auto templated = std::find(templates.row_sites.begin(), templates.row_sites.end(), site);
    int64_t template_row = 0;
    for (auto at = templates.row_sites.begin(); at != templated; ++at) template_row += kKindRows[kSites[*at]];
    std::vector<float> piece;
    for (int32_t i = 0; i < rows; ++i) {
      for (int32_t c = 0; c < kDim; ++c) {
        double value = templated != templates.row_sites.end() ? templates.rows[(template_row + i) * kDim + c]
                                                              : templates.means[site * kDim + c];
        piece.push_back(static_cast<float>(value));
      }
    }
    // Templates are those of the piece's first row's place.
    std::vector<float> turned = piece;
    if (templated == templates.row_sites.end()) turned.assign(piece.begin(), piece.begin() + kDim);
    if (number % 2 == 0)
      RotateRows(turned.data(), static_cast<int64_t>(turned.size()) / kDim, kDim, kDim, kTheta,
                 static_cast<int32_t>(out.size()) / kDim);
    for (int32_t i = 0; i < rows; ++i) {
      const size_t from = turned.size() > kDim ? i * kDim : 0;
      for (int32_t c = 0; c < kDim; ++c) {
        double value = turned[from + c];
        for (int32_t r = 0; r < part.ranks[kind]; ++r) {
          const double u = part.basis[basis_begin[kind] + r * rows + i] / part.weights[kind_begin[kind] + i];
          for (int32_t k = 0; k < kDim; ++k)
            value += u * coefficients[(first[p] + r) * padded + k] * inverse[k * padded + c];
        }
        out.push_back(static_cast<float>(value));
      }
    }
  }
  return out;
}

TEST_F(PieceProfileTest, SpansDecodeAsTheirPiecesDo) {
  Rng rng(3);
  for (const bool choose_bits : {false, true}) {
    SavePieceProfile(path_, RandomPieces(rng, choose_bits), {{"model_revision", "abc"}});
    ProfileReader reader(path_);
    const PieceProfile pieces = ReadPieceProfile(reader, kGeometry);
    const auto formats = OpenFormats(kGeometry, {path_});
    ASSERT_EQ(formats.size(), 2u + pieces.layouts.size());
    for (size_t l = 0; l < pieces.layouts.size(); ++l) {
      const auto format = std::dynamic_pointer_cast<const PackedFormat>(formats[2 + l]);
      const int32_t tokens = pieces.Tokens(pieces.layouts[l]);
      ASSERT_EQ(format->info().tokens, tokens);
      Scene scene(kGeometry, 64, 11 + l);
      scene.Open(0);
      scene.Fill(0, scene.AddSegment(0, 3), 3);
      const int32_t segment = scene.AddSegment(0, tokens);
      scene.Fill(0, segment, tokens);
      const auto& raw = std::get<RawSegment>(scene.table.at(0).segments[segment]);
      const CapsuleSegment capsule{format, scene.TakePages(format->Pages(tokens)), tokens, 3};
      std::vector<int32_t> rows(tokens);
      std::iota(rows.begin(), rows.end(), 0);
      format->Encode(scene.pool, raw, rows, capsule);
      for (int32_t number = 0; number < 4; ++number) {
        const auto part = static_cast<KvPart>(number % 2);
        std::vector<float> coefficients(format->unit(number / 2, part, 0).rank * format->padded_dim());
        format->ReadCoefficients(scene.pool, capsule, number / 2, part, 0, coefficients.data());
        auto want = DecodeByPieces(pieces, pieces.layouts[l], number, coefficients, format->padded_dim(),
                                   format->inverse());
        if (number % 2 == 0) RotateRows(want.data(), tokens, kDim, kDim, kTheta, 3);
        std::vector<float> got(want.size());
        format->Decode(scene.pool, capsule, number / 2, part, 0, got.data());
        for (size_t i = 0; i < want.size(); ++i)
          ASSERT_NEAR(got[i], want[i], 2e-4 * (1 + std::abs(want[i]))) << "layout " << l << ", part " << number;
      }
    }
  }
}

TEST_F(PieceProfileTest, NamesTheMarkersAndPagesOfEachLayout) {
  Rng rng(4);
  SavePieceProfile(path_, RandomPieces(rng, true), {{"model_revision", "abc"}});
  std::vector<int32_t> files;
  const auto formats = OpenFormats(kGeometry, {path_, path_}, &files);
  EXPECT_EQ(files, (std::vector<int32_t>{-1, -1, 0, 0, 0, 1, 1, 1}));
  ASSERT_EQ(formats.size(), 8u);
  EXPECT_EQ(formats[2]->info().marker_rows, (std::vector<int32_t>{0, 1, 10, 11, 18}));
  EXPECT_EQ(formats[2]->Bytes(19), 600);
  EXPECT_EQ(formats[4]->Bytes(49), 1200);
  EXPECT_NE(formats[2]->info().profile_id, formats[3]->info().profile_id);
}

TEST_F(PieceProfileTest, WhatDoesNotFitIsRefusedWithTheReason) {
  const std::pair<const char*, std::function<void(PieceProfile&)>> damages[] = {
      {"kinds of pieces out of order", [](auto& p) { std::swap(p.kinds.groups[0], p.kinds.groups[9]); }},
      {"with and without markers", [](auto& p) { p.kinds.marker_rows = {7, 14, 15, 16}; }},
      {"out of range in sites", [](auto& p) { p.sites[3] = 4; }},
      {"out of range in layouts", [](auto& p) { p.layouts[1].sites[0] = -1; }},
      {"out of range in layouts", [](auto& p) { p.layouts[1].sites[0] = 11; }},
      {"without pieces", [](auto& p) { p.layouts[1].sites.clear(); }},
      {"without pieces or bytes", [](auto& p) { p.layouts[1].bytes = 0; }},
      {"too many rows", [](auto& p) { p.layouts[1].sites.assign(40000, 0); }},
      {"too many rows", [](auto& p) { p.layouts[1].sites.assign(2000, 5); }},
      {"do not ascend in layers.0.heads.0.values.row_sites", [](auto& p) { p.templates[1].row_sites[1] = 1; }},
      {"out of range in layers.0.heads.0.values.row_sites", [](auto& p) { p.templates[1].row_sites[6] = 11; }},
      {"another type, shape or size",
       [](auto& p) { p.templates[1].rows.resize(p.templates[1].rows.size() - kDim); }},
      {"not finite", [](auto& p) { p.templates[1].rows[3] = NAN; }},
      {"templates of kinds",
       [](auto& p) {
         p.kinds.parts[0].template_rows = {1};
         p.kinds.parts[0].rows.resize(kDim);
       }},
      {"capsules too small", [](auto& p) { p.layouts[2].bytes = 100; }},
  };
  Rng rng(5);
  const PieceProfile pieces = RandomPieces(rng, true);
  for (const auto& [reason, damage] : damages) {
    PieceProfile broken = pieces;
    damage(broken);
    SavePieceProfile(path_, broken, {{"model_revision", "abc"}});
    try {
      OpenFormats(kGeometry, {path_});
      ADD_FAILURE() << "taken: " << reason;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kProfileInvalid);
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos)
          << "wanted \"" << reason << "\" in \"" << error.what() << "\"";
    }
  }
  SavePieceProfile(path_, pieces, {{"model_revision", "abc"}});
  EXPECT_NO_THROW(OpenFormats(kGeometry, {path_}));
}

TEST(PieceFitTest, ServesGridsThatNoPictureHadAlmostAsWellAsTheirOwnFit) {
  Pictures pictures(1);
  const auto two = pictures.Statistics(2, 40), four = pictures.Statistics(4, 40);
  const GridStatistics grids[] = {{&two, nullptr}, {&four, nullptr}};
  const PieceFitOptions options = Options({3, 4}, {2, 4});
  const PieceProfile pieces = FitPieces(grids, options);
  ASSERT_EQ(pieces.layouts.size(), 2u);

  PackedFitOptions own = options.packed;
  own.bytes = options.layouts[0].bytes;
  const PackedProfile made = SpanProfile(pieces, 0);
  own.groups = made.groups;
  own.marker_rows = made.marker_rows;
  const PackedProfile fitted = FitPacked(pictures.Statistics(3, 80), own);
  const double best = pictures.Error(fitted, 3), error = pictures.Error(made, 3);
  EXPECT_LT(error, 1.3 * best);
  EXPECT_LT(best, 0.02);
  // Seen grids, too; and templates at another place of the span would be worth nothing.
  EXPECT_LT(pictures.Error(SpanProfile(pieces, 1), 4), 0.02);
  PieceProfile unturned = pieces;
  unturned.kinds.rope_theta = 0;
  EXPECT_GT(pictures.Error(SpanProfile(unturned, 0), 3), 2 * error);
}

TEST(PieceFitTest, SitesThatNoPictureHadTakeTheMeanOfTheirKind) {
  Pictures pictures(2);
  const auto two = pictures.Statistics(2, 60);
  const GridStatistics grids[] = {{&two, nullptr}};
  const PieceProfile pieces = FitPieces(grids, Options({4}, {2}));
  const PieceTemplates& values = pieces.templates[1];
  ASSERT_EQ(values.row_sites.size(), kSites.size());
  for (int32_t i = 0; i < 8 * kDim; ++i)
    ASSERT_NEAR(values.rows[2 * 8 * kDim + i], (values.rows[i] + values.rows[8 * kDim + i]) / 2, 1e-4);
}

TEST(PieceFitTest, RefusesLayoutsItKnowsNothingOf) {
  Pictures pictures(3);
  const auto two = pictures.Statistics(2, 4);
  const GridStatistics grids[] = {{&two, nullptr}};
  const auto refused = [&](PieceFitOptions options, const char* reason) {
    try {
      FitPieces(grids, options);
      ADD_FAILURE() << "taken: " << reason;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kConfigInvalid);
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  };
  refused(Options({3}, {3}), "of a grid that has no layout");
  refused(Options({}, {2}), "no layout is to be served");
  PieceFitOptions strange = Options({2, 3}, {2});
  strange.kind_rows.push_back(3);
  strange.kind_markers.push_back(0);
  strange.sites.push_back(4);
  refused(strange, "in no layout");
  strange.layouts[1].sites.push_back(11);
  refused(strange, "no picture had");
  strange.layouts[1].sites.push_back(12);
  refused(strange, "no such site");
}

}  // namespace
}  // namespace kvcapsule
