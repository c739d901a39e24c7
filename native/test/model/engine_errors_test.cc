// Folders, options and plans that are not right are refused with the right code, and change nothing.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>

#include "engine_driver.h"
#include "folder_config.h"
#include "kvcapsule/calibration.h"

namespace kvcapsule::testing {
namespace {

namespace fs = std::filesystem;

// A copy of a small fixture that a test may spoil.
class SpoiledFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    dir_ = fs::temp_directory_path() / ("kvcapsule-" + name + "-" + std::to_string(getpid()));
    fs::remove_all(dir_);
    fs::copy(std::string(KVCAPSULE_FIXTURES) + "/shuffle-1-plain", dir_, fs::copy_options::recursive);
    options_.model_dir = dir_;
    options_.model = ReadFolderConfig(options_.model_dir);
    options_.threads = 1;
    options_.pool_blocks = 8;
    options_.max_slots = 4;
    options_.max_step_tokens = 64;
    options_.kv = Dtype::kF32;
  }
  void TearDown() override { fs::remove_all(dir_); }

  static void ExpectError(ErrorCode code, const std::string& part, const std::function<void()>& action) {
    try {
      action();
      ADD_FAILURE() << "nothing was thrown; expected: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
  void ExpectModelInvalid(const std::string& part) const {
    ExpectError(ErrorCode::kModelInvalid, part, [this] { Engine::Create(options_); });
  }

  fs::path dir_;
  EngineOptions options_;
};

TEST_F(SpoiledFolder, MissingFiles) {
  fs::remove(dir_ / "model.safetensors");
  ExpectModelInvalid("model.safetensors");
}

TEST_F(SpoiledFolder, ModelThatCannotBeComputed) {
  const ModelConfig good = options_.model;
  const std::vector<std::pair<std::string, std::function<void(ModelConfig&)>>> cases = {
      {"family", [](ModelConfig& c) { c.family = "qwen2_vl"; }},
      {"text.layers", [](ModelConfig& c) { c.text.layers = -1; }},
      {"text.hidden", [](ModelConfig& c) { c.text.hidden = INT32_MAX; }},
      {"text.kvHeads", [](ModelConfig& c) { c.text.kv_heads = 3; }},
      {"text.headDim", [](ModelConfig& c) { c.text.head_dim = 15; }},
      {"text.ropeTheta", [](ModelConfig& c) { c.text.rope_theta = std::nanf(""); }},
      {"vision.heads", [](ModelConfig& c) { c.vision.heads = 0; }},
      {"vision.hidden", [](ModelConfig& c) { c.vision.heads = 3; }},
      {"vision.image", [](ModelConfig& c) { c.vision.patch_size = 2 * c.vision.image_size; }},
      {"pictures.tile", [](ModelConfig& c) { c.image.tile = 0; }},
      {"pictures.std", [](ModelConfig& c) { c.image.std[1] = 0; }},
      {"imageTokenId", [](ModelConfig& c) { c.image_token_id = 96; }},
      {"scaleFactor", [](ModelConfig& c) { c.scale_factor = 3; }},
      {"shape", [](ModelConfig& c) { c.text.intermediate = 81; }},
      {"lm_head.weight is missing", [](ModelConfig& c) { c.tied = false; }},
      {"layers.2", [](ModelConfig& c) { c.text.layers = 3; }},
  };
  for (const auto& [part, spoil] : cases) {
    options_.model = good;
    spoil(options_.model);
    ExpectModelInvalid(part);
  }
}

TEST_F(SpoiledFolder, DamagedWeights) {
  const fs::path path = dir_ / "model.safetensors";
  std::string bytes(fs::file_size(path), '\0');
  std::ifstream(path, std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  const auto write = [&](const std::string& content) { std::ofstream(path, std::ios::binary) << content; };
  // cut anywhere: always refused, never a crash
  for (size_t size = 0; size < bytes.size(); size += size < 64 ? 1 : bytes.size() / 37) {
    write(bytes.substr(0, size));
    ExpectModelInvalid("model.safetensors");
  }
  std::string longer = bytes;
  longer[7] = '\x7f';
  write(longer);
  ExpectModelInvalid("longer than the file");
  // every header byte in turn becomes something else: refused or loaded, never a crash
  for (size_t at = 8; at < 1200; at += 7) {
    std::string changed = bytes;
    changed[at] = '9';
    write(changed);
    try {
      Engine::Create(options_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kModelInvalid);
    }
  }
}

TEST_F(SpoiledFolder, Options) {
  const auto refuse = [this](const std::string& part, const std::function<void(EngineOptions&)>& spoil) {
    EngineOptions options = options_;
    spoil(options);
    ExpectError(ErrorCode::kConfigInvalid, part, [&] { Engine::Create(options); });
  };
  refuse("poolBlocks", [](EngineOptions& o) { o.pool_blocks = 0; });
  refuse("threads", [](EngineOptions& o) { o.threads = -1; });
  refuse("maxSlots", [](EngineOptions& o) { o.max_slots = 0; });
  refuse("maxStepTokens", [](EngineOptions& o) { o.max_step_tokens = 0; });
  EngineOptions options = options_;
  options.profiles = {"/nowhere/profile.safetensors"};
  ExpectError(ErrorCode::kProfileInvalid, "profile.safetensors", [&] { Engine::Create(options); });
}

// One open slot with 2 blocks and 3 tokens in them; a good plan of 2 more rows.
class BadPlan : public SpoiledFolder {
 protected:
  void SetUp() override {
    SpoiledFolder::SetUp();
    engine_ = Engine::Create(options_);
    PlanBuilder start;
    start.Op(1, 0, {});
    start.Op(3, 0, {});
    start.Op(4, 0, {0, 3, 4});
    start.chunks = {0, 0, 3};
    for (int32_t i = 0; i < 3; ++i) start.Row(7 + i, i, -1, 0);
    engine_->Step(start.View(false));
  }

  static PlanBuilder Good() {
    PlanBuilder plan;
    plan.chunks = {0, 0, 2};
    plan.Row(10, 3, -1, 0);
    plan.Row(11, 4, -1, 0);
    plan.SampleLast();
    return plan;
  }

  void ExpectRefused(const std::string& part, const std::function<void(PlanBuilder&)>& spoil) {
    PlanBuilder plan = Good();
    spoil(plan);
    ExpectError(ErrorCode::kPlanInvalid, part, [&] { engine_->Step(plan.View(false)); });
  }

  std::unique_ptr<Engine> engine_;
};

TEST_F(BadPlan, IsRefusedAndChangesNothing) {
  ExpectRefused("tokens[0]", [](PlanBuilder& p) { p.tokens[0] = 96; });
  ExpectRefused("tokens[1]", [](PlanBuilder& p) { p.tokens[1] = -1; });
  ExpectRefused("positions[1]", [](PlanBuilder& p) { p.positions[1] = 1024; });
  ExpectRefused("row arrays", [](PlanBuilder& p) { p.positions.pop_back(); });
  ExpectRefused("chunks is not", [](PlanBuilder& p) { p.chunks.push_back(0); });
  ExpectRefused("add up", [](PlanBuilder& p) { p.chunks[2] = 1; });
  ExpectRefused("positive", [](PlanBuilder& p) { p.chunks[2] = 0; });
  ExpectRefused("open slot", [](PlanBuilder& p) { p.chunks[0] = 1; });
  ExpectRefused("not a segment", [](PlanBuilder& p) { p.chunks[1] = 1; });
  ExpectRefused("not after", [](PlanBuilder& p) { p.chunks = {0, 0, 1, 0, 0, 1}; });
  ExpectRefused("not a picture", [](PlanBuilder& p) { p.image_handles[0] = 3; });
  ExpectRefused("not a picture", [](PlanBuilder& p) { p.image_handles[0] = -2; });
  ExpectRefused("samples[0]", [](PlanBuilder& p) { p.samples[0] = 2; });
  ExpectRefused("temperature[0]", [](PlanBuilder& p) { p.temperature[0] = std::nanf(""); });
  ExpectRefused("top_p[0]", [](PlanBuilder& p) { p.top_p[0] = 0; });
  ExpectRefused("top_k[0]", [](PlanBuilder& p) { p.top_k[0] = -1; });
  ExpectRefused("sampling arrays", [](PlanBuilder& p) { p.seed.clear(); });
  ExpectRefused("", [](PlanBuilder& p) { p.Op(4, 0, {0, 8}); });
  ExpectRefused("more rows", [](PlanBuilder& p) {
    p.chunks[2] = 65;
    for (int32_t i = 2; i < 65; ++i) p.Row(9, i, -1, 0);
  });
  ExpectRefused("blocks hold", [](PlanBuilder& p) {
    p.chunks[2] = 30;
    for (int32_t i = 2; i < 30; ++i) p.Row(9, i, -1, 0);
  });
  // The slot still holds 3 tokens, so the good plan gives what it gives in a fresh engine.
  const StepResult after = engine_->Step(Good().View(true));
  SetUp();
  const StepResult fresh = engine_->Step(Good().View(true));
  EXPECT_EQ(after.logits, fresh.logits);
}

TEST_F(BadPlan, PicturesAreCheckedAndReleased) {
  const std::vector<uint8_t> rgb(64 * 64 * 3, 100);
  const EncodedImage image = engine_->EncodeImage(rgb.data(), 64, 64);
  EXPECT_EQ(image.tokens, 5 * engine_->info().tokens_per_tile);
  ExpectRefused("image_rows[0]", [&](PlanBuilder& p) {
    p.image_handles[0] = image.handle;
    p.image_rows[0] = image.tokens;
  });
  engine_->ReleaseImage(image.handle);
  ExpectRefused("not a picture", [&](PlanBuilder& p) { p.image_handles[0] = image.handle; });
}

TEST_F(BadPlan, GramsAndFitsAreChecked) {
  const auto calibration = Calibration::Create(*engine_);
  const std::vector<int32_t> rows{0, 1};
  ExpectError(ErrorCode::kPlanInvalid, "slot", [&] { calibration->AddToGram(2, 0, rows); });
  ExpectError(ErrorCode::kPlanInvalid, "segment", [&] { calibration->AddToGram(0, 1, rows); });
  const std::vector<int32_t> outside{0, 3}, descending{1, 0};
  ExpectError(ErrorCode::kPlanInvalid, "outside", [&] { calibration->AddToGram(0, 0, outside); });
  ExpectError(ErrorCode::kPlanInvalid, "ascend", [&] { calibration->AddToGram(0, 0, descending); });
  ExpectError(ErrorCode::kConfigInvalid, "no picture", [&] { calibration->Fit({2, {0.5f, 0.5f}, dir_ / "x", {}}); });
  PieceFitRequest pieces;
  pieces.packed.key_template = pieces.packed.value_template = "none";
  pieces.packed.basis = "principal";
  pieces.packed.allocation = "picture";
  pieces.kind_rows = {2};
  pieces.kind_markers = pieces.sites = {0};
  ExpectError(ErrorCode::kConfigInvalid, "no picture", [&] { calibration->FitPieces(pieces); });
  pieces.layout_bytes = {100};
  pieces.layout_begins = {0, 1};
  ExpectError(ErrorCode::kConfigInvalid, "layouts do not follow", [&] { calibration->FitPieces(pieces); });
}

}  // namespace
}  // namespace kvcapsule::testing
