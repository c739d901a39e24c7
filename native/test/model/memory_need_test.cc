// What an engine is said to take is what its process holds.
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <fstream>

#include "attention/operators.h"
#include "engine_driver.h"
#include "folder_config.h"
#include "kv/codec/registry.h"

namespace kvcapsule::testing {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int32_t kRows = 4096;

int64_t ResidentBytes() {
  int64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// What has been allocated and not freed.
int64_t HeapBytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

EngineOptions Options() {
  EngineOptions options;
  options.model_dir = DemoModelDir();
  options.model = ReadFolderConfig(options.model_dir);
  options.threads = 1;
  options.pool_blocks = kRows / KvGeometry::kBlockTokens;
  options.max_step_tokens = kRows;
  return options;
}

MemoryOptions Sizes(const EngineOptions& options, int64_t tiles) {
  return {options.model,   options.weights,         options.kv, options.max_slots,
          options.threads, options.max_step_tokens, tiles,      options.profiles};
}

// One step that fills the pool.
void FillPool(Engine& engine) {
  PlanBuilder plan;
  plan.Op(1, 0, {});
  plan.Op(3, 0, {});
  std::vector<int32_t> blocks{0};
  for (int32_t block = 0; block < kRows / KvGeometry::kBlockTokens; ++block) blocks.push_back(block);
  plan.Op(4, 0, blocks);
  plan.chunks = {0, 0, kRows};
  for (int32_t row = 0; row < kRows; ++row) plan.Row(50 + row % 900, row, -1, 0);
  plan.SampleLast();
  engine.Step(plan.View(false));
}

TEST(MemoryNeedTest, WeightsAreThoseOfTheEngine) {
  for (const WeightType type : {WeightType::kF32, WeightType::kBF16, WeightType::kQ8_0, WeightType::kQ4_1}) {
    EngineOptions options = Options();
    options.weights = type;
    const auto loaded = static_cast<double>(Engine::Create(options)->info().weight_bytes);
    // memory comes in pages of two MiB, and biases are counted too
    EXPECT_NEAR(static_cast<double>(DescribeMemory(Sizes(options, 1)).weights), loaded, 2.0 * kMiB);
  }
}

TEST(MemoryNeedTest, IsWhatTheProcessHolds) {
  const EngineOptions options = Options();
  const MemoryNeed need = DescribeMemory(Sizes(options, 17));
  const int64_t planned = need.weights + options.pool_blocks * need.block + need.workspace + need.threads;
  const int64_t before = ResidentBytes();
  const auto engine = Engine::Create(options);
  FillPool(*engine);
  const int64_t held = ResidentBytes() - before;
  EXPECT_GT(planned, 30 * kMiB);
  // whole large pages beside it
  EXPECT_LE(held, planned * 11 / 10 + 4 * kMiB) << "planned " << planned;
  EXPECT_GE(held, planned * 9 / 10 - 4 * kMiB) << "planned " << planned;
}

TEST(MemoryNeedTest, ProfilesAreWhatTheirFormatsHold) {
  EngineOptions options = Options();
  EXPECT_EQ(DescribeMemory(Sizes(options, 1)).profiles, 0);
  int64_t together = 0;
  std::vector<std::string> profiles;
  for (const char* name : {"capsule-r40", "capsule-mixed-x16", "capsule-mixed-x16-pooled"}) {
    options.profiles = {options.model_dir + "/profiles/" + name + ".safetensors"};
    profiles.push_back(options.profiles[0]);
    const int64_t need = DescribeMemory(Sizes(options, 1)).profiles;
    const KvGeometry geometry = {options.model.text.layers, options.model.text.kv_heads, options.model.text.head_dim,
                                 options.kv};
    const int64_t before = HeapBytes();
    const auto formats = OpenFormats(geometry, options.profiles);
    CapsuleOperators operators;
    for (const auto& format : formats) {
      operators.Prepare(format);
      const auto* packed = dynamic_cast<const PackedFormat*>(format.get());
      for (int32_t at = 0; packed && at < options.model.text.context_tokens; ++at) operators.Turn(*packed, at);
    }
    const int64_t held = HeapBytes() - before;
    EXPECT_NEAR(static_cast<double>(need), static_cast<double>(held), 0.05 * static_cast<double>(held)) << name;
    together += need;
  }
  options.profiles = profiles;
  EXPECT_EQ(DescribeMemory(Sizes(options, 1)).profiles, together);
}

TEST(MemoryNeedTest, RefusesWhatIsNoProfile) {
  EngineOptions options = Options();
  options.profiles = {options.model_dir + "/config.json"};
  EXPECT_THROW(DescribeMemory(Sizes(options, 1)), Error);
}

TEST(MemoryNeedTest, GrowsWithWhatIsWorkedOn) {
  EngineOptions options = Options();
  options.max_step_tokens = 16;
  options.max_slots = 1;
  const int64_t one = DescribeMemory(Sizes(options, 1)).workspace, many = DescribeMemory(Sizes(options, 20)).workspace;
  EXPECT_EQ(many, 20 * one);
  // a slice takes no more than fits in a bound, however many pictures wait
  EXPECT_LT(DescribeMemory(Sizes(options, 1'000'000)).workspace, int64_t{1} << 26);
  options.max_step_tokens = 100'000;
  EXPECT_GT(DescribeMemory(Sizes(options, 1)).workspace, 100 * one);
}

TEST(MemoryNeedTest, RefusesWhatIsNoModel) {
  EngineOptions options = Options();
  options.model.text.heads = 0;
  EXPECT_THROW(DescribeMemory(Sizes(options, 1)), Error);
}

}  // namespace
}  // namespace kvcapsule::testing
