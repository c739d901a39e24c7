// What an engine is said to take is what its process holds.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "engine_driver.h"
#include "folder_config.h"

namespace kvcapsule::testing {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int32_t kRows = 4096;

int64_t ResidentBytes() {
  int64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
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
  return {options.model, options.weights, options.kv, options.max_slots, options.max_step_tokens, tiles};
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
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16}) {
    EngineOptions options = Options();
    options.weights = dtype;
    const auto loaded = static_cast<double>(Engine::Create(options)->info().weight_bytes);
    // memory comes in pages of two MiB, and biases are counted too
    EXPECT_NEAR(static_cast<double>(DescribeMemory(Sizes(options, 1)).weights), loaded, 2.0 * kMiB);
  }
}

TEST(MemoryNeedTest, IsWhatTheProcessHolds) {
  const EngineOptions options = Options();
  const MemoryNeed need = DescribeMemory(Sizes(options, 17));
  const int64_t planned = need.weights + options.pool_blocks * need.block + need.workspace;
  const int64_t before = ResidentBytes();
  const auto engine = Engine::Create(options);
  FillPool(*engine);
  const int64_t held = ResidentBytes() - before;
  EXPECT_GT(planned, 30 * kMiB);
  // scratch of threads and whole large pages beside it
  EXPECT_LE(held, planned * 11 / 10 + 4 * kMiB) << "planned " << planned;
  EXPECT_GE(held, planned * 9 / 10 - 4 * kMiB) << "planned " << planned;
}

TEST(MemoryNeedTest, GrowsWithWhatIsWorkedOn) {
  EngineOptions options = Options();
  options.max_step_tokens = 16;
  options.max_slots = 1;
  const int64_t one = DescribeMemory(Sizes(options, 1)).workspace, many = DescribeMemory(Sizes(options, 100)).workspace;
  EXPECT_EQ(many, 100 * one);
  // a slice takes no more than fits in a bound, however many pictures wait
  EXPECT_LT(DescribeMemory(Sizes(options, 1'000'000)).workspace, int64_t{1} << 28);
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
