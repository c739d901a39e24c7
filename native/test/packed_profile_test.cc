#include "kv/codec/packed/packed_profile.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "kv/codec/registry.h"
#include "kvcapsule/error.h"
#include "scene.h"

namespace kvcapsule {
namespace {

const KvGeometry kGeometry{2, 2, 16, Dtype::kF16};
const ProfileMetadata kMetadata = {{"model_revision", "abc"}};

class PackedProfileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("packed-" + std::to_string(getpid()) + ".safetensors");
    testing::Rng rng(4);
    profile_ = testing::RandomPackedProfile(rng, kGeometry, 30, {0.5, 1, 8, 3, 6, true, true});
    profile_.marker_rows = {0, 7, 29};
    profile_.row_cost = 0.5f;
  }
  void TearDown() override { std::filesystem::remove(path_); }

  PackedProfile Load() const {
    ProfileReader reader(path_);
    return ReadPackedProfile(reader, kGeometry);
  }

  std::string path_;
  PackedProfile profile_;
};

TEST_F(PackedProfileTest, SurvivesTheRoundTrip) {
  SavePackedProfile(path_, profile_, kMetadata);
  const PackedProfile loaded = Load();
  EXPECT_EQ(loaded.codec, "capsule-mixed");
  EXPECT_EQ(loaded.tokens, 30);
  EXPECT_EQ(loaded.rope_theta, 10000);
  EXPECT_EQ(loaded.row_cost, 0.5f);
  EXPECT_EQ(loaded.groups, profile_.groups);
  EXPECT_EQ(loaded.marker_rows, profile_.marker_rows);
  ASSERT_EQ(loaded.parts.size(), profile_.parts.size());
  for (size_t i = 0; i < loaded.parts.size(); ++i) {
    const PackedPart &got = loaded.parts[i], &want = profile_.parts[i];
    EXPECT_EQ(got.ranks, want.ranks);
    EXPECT_EQ(got.bits, want.bits);
    EXPECT_EQ(got.weights, want.weights);
    EXPECT_EQ(got.deviations, want.deviations);
    EXPECT_EQ(got.sensitivity, want.sensitivity);
    EXPECT_EQ(got.template_rows, want.template_rows);
    for (const auto member : {&PackedPart::basis, &PackedPart::means, &PackedPart::rows}) {
      ASSERT_EQ((got.*member).size(), (want.*member).size());
      for (size_t k = 0; k < (got.*member).size(); ++k)
        ASSERT_NEAR((got.*member)[k], (want.*member)[k], 1e-3 * (1 + std::abs((want.*member)[k])));
    }
  }
  const auto formats = OpenFormats(kGeometry, {path_});
  ASSERT_EQ(formats.size(), 3u);
  EXPECT_EQ(formats[2]->info().codec, "capsule-mixed");
  EXPECT_EQ(formats[2]->info().marker_rows, profile_.marker_rows);
  int64_t bits = 0, rows = 0;
  for (const PackedPart& part : profile_.parts) {
    rows += (part.rank() + 1) / 2;
    for (const uint8_t b : part.bits) bits += b;
  }
  EXPECT_EQ(formats[2]->Bytes(30), 64 + 8 * 4 + rows + bits * 16 / 8);
}

TEST_F(PackedProfileTest, WhatDoesNotFitIsRefusedWithTheReason) {
  const std::pair<const char*, std::function<void(PackedProfile&)>> damages[] = {
      {"codec that is none", [](auto& p) { p.codec = "capsule-q9"; }},
      {"names an n", [](auto& p) { p.tokens = 0; }},
      {"another type, shape or size",
       [](auto& p) {
         p.groups.push_back(0);
         p.tokens = 31;
       }},
      {"groups outside", [](auto& p) { p.groups[3] = -1; }},
      {"empty group", [](auto& p) { p.groups[3] = 9; }},
      {"rows that do not ascend",
       [](auto& p) {
         p.marker_rows = {7, 0, 29};
       }},
      {"rows that do not ascend",
       [](auto& p) {
         p.marker_rows = {0, 7, 30};
       }},
      {"rows that do not ascend", [](auto& p) { p.parts[0].template_rows[0] = -1; }},
      {"more basis rows", [](auto& p) { p.parts[2].ranks[0] = 31; }},
      {"more basis rows", [](auto& p) { p.parts[2].ranks[0] = -1; }},
      {"bits above 8", [](auto& p) { p.parts[1].bits[0] = 9; }},
      {"out of range in layers.0.heads.1.values.weights", [](auto& p) { p.parts[3].weights[5] = 0; }},
      {"out of range in layers.0.heads.1.values.deviations", [](auto& p) { p.parts[3].deviations[5] = -1; }},
      {"out of range in layers.0.heads.0.keys.sensitivity", [](auto& p) { p.parts[0].sensitivity = -1; }},
      {"row_cost outside 0..8", [](auto& p) { p.row_cost = 9; }},
      {"names an bytes", [](auto& p) { p.bytes = -1; }},
      {"capsules too small", [](auto& p) { p.bytes = 100; }},
      {"not finite", [](auto& p) { p.parts[3].basis[5] = NAN; }},
      {"not finite", [](auto& p) { p.transform[5] = INFINITY; }},
      {"without an inverse", [](auto& p) { std::fill_n(p.transform.begin(), 16, 0.0f); }},
      {"rope_theta", [](auto& p) { p.rope_theta = -1; }},
  };
  for (const auto& [reason, damage] : damages) {
    PackedProfile broken = profile_;
    damage(broken);
    SavePackedProfile(path_, broken, kMetadata);
    try {
      OpenFormats(kGeometry, {path_});
      ADD_FAILURE() << "taken: " << reason;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kProfileInvalid);
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos)
          << "wanted \"" << reason << "\" in \"" << error.what() << "\"";
    }
  }
  SavePackedProfile(path_, profile_, kMetadata);
  EXPECT_NO_THROW(OpenFormats(kGeometry, {path_}));
  EXPECT_THROW(OpenFormats({3, 2, 16, Dtype::kF16}, {path_}), Error);
  EXPECT_THROW(OpenFormats({1, 2, 16, Dtype::kF16}, {path_}), Error);
}

}  // namespace
}  // namespace kvcapsule
