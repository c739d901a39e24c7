#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "attention/paged_attention.h"
#include "kv/codec/q4/q4_format.h"
#include "kv/codec/q8/q8_format.h"
#include "scene.h"
#include "targets.h"

namespace kvcapsule {
namespace {

using testing::Between;
using testing::Gaussian;
using testing::OracleAttention;
using testing::RandomFormat;
using testing::Scene;

struct Shape {
  int32_t kv_heads, group, head_dim;
  Dtype dtype;
  const char* name;
};
struct Case : Shape {
  int64_t target;
};

// Every shape on the machine's best target; on each other one, the shapes that take its paths.
std::vector<Case> Cases() {
  constexpr Shape kShapes[] = {{2, 2, 128, Dtype::kF16, "gqa128f16"}, {2, 3, 64, Dtype::kF32, "gqa64f32"},
                               {2, 1, 40, Dtype::kBF16, "mha40bf16"}, {2, 1, 64, Dtype::kF32, "mha64f32"},
                               {1, 4, 24, Dtype::kF32, "gqa24f32"},   {3, 1, 8, Dtype::kF32, "mha8f32"},
                               {2, 2, 80, Dtype::kF32, "gqa80f32"},   {1, 7, 128, Dtype::kBF16, "gqa128bf16"}};
  constexpr int kForEachTarget = 3;
  std::vector<Case> cases;
  const auto targets = hwy::SupportedAndGeneratedTargets();
  for (size_t t = 0; t < targets.size(); ++t) {
    for (size_t s = 0; s < std::size(kShapes); ++s) {
      if (t == 0 || s < kForEachTarget) cases.push_back({kShapes[s], targets[t]});
    }
  }
  return cases;
}

std::vector<float> Attend(Scene& scene, const std::vector<AttentionChunk>& chunks,
                          const AttentionShape& shape, const std::vector<float>& queries, int32_t workers,
                          int32_t layer = 1) {
  std::vector<float> out(queries.size(), NAN);
  CapsuleOperators operators;
  AttentionStep step(scene.pool, scene.table, chunks, shape, &operators);
  std::vector<std::thread> threads;
  for (int32_t i = 0; i < workers; ++i) {
    threads.emplace_back([&] { step.Run(layer, queries.data(), out.data()); });
  }
  for (auto& thread : threads) thread.join();
  return out;
}

double LargestError(const std::vector<float>& got, const std::vector<double>& want) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(got[i] - want[i]);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

PackedProfile AnyPackedProfile(Scene& scene, int32_t tokens) {
  const auto coin = [&] { return Between(scene.rng, 0, 1) == 1; };
  testing::PackedOptions options;
  options.retention = 0.1 * Between(scene.rng, 0, 10);
  options.groups = Between(scene.rng, 1, 5);
  options.template_rows = coin() ? Between(scene.rng, 1, 20) : 0;
  options.means = coin();
  options.weights = coin();
  options.choose_bits = coin();
  return testing::RandomPackedProfile(scene.rng, scene.pool.geometry(), tokens, options);
}

std::shared_ptr<const KvFormat> AnyFormat(Scene& scene, int32_t tokens) {
  const KvGeometry& geometry = scene.pool.geometry();
  switch (Between(scene.rng, 0, 5)) {
    case 0: return std::make_shared<Q8Format>(geometry);
    case 1: return std::make_shared<Q4Format>(geometry);
    case 2:
    case 3: return std::make_shared<PackedFormat>(geometry, AnyPackedProfile(scene, tokens));
    default: return RandomFormat(scene.rng, geometry, tokens, 0.1 * Between(scene.rng, 1, 10));
  }
}

// A sequence of raw and capsule segments with a chunk of fresh rows at its end; returns the chunk.
AttentionChunk RandomSequence(Scene& scene, int32_t slot, int32_t first_row, int32_t rows) {
  auto& rng = scene.rng;
  scene.Open(slot);
  for (int32_t pictures = Between(rng, 0, 3); pictures > 0; --pictures) {
    if (Between(rng, 0, 2) > 0) {
      const int32_t tokens = Between(rng, 1, 90);
      scene.Fill(slot, scene.AddSegment(slot, tokens), tokens);
    }
    const int32_t n = Between(rng, 1, 70), marks = Between(rng, 0, 5);
    const int32_t span = scene.AddSegment(slot, n + marks);
    scene.Fill(slot, span, n + marks);
    std::vector<int32_t> rest;
    for (int32_t i = 0; i < marks; ++i) rest.push_back(i < marks / 2 ? i : n + i);
    scene.Compress(slot, span, AnyFormat(scene, n), rest);
  }
  const int32_t start = Between(rng, 0, 150);
  const int32_t own = scene.AddSegment(slot, start + rows);
  scene.Fill(slot, own, start + rows);
  return {slot, own, first_row, rows, start};
}

class AttentionTest : public ::testing::TestWithParam<Case> {
  testing::UseTarget use_{GetParam().target};

 protected:
  KvGeometry Geometry() const { return {2, GetParam().kv_heads, GetParam().head_dim, GetParam().dtype}; }
  AttentionShape Shape() const {
    return {GetParam().kv_heads * GetParam().group, 1 / std::sqrt(static_cast<float>(GetParam().head_dim))};
  }
  std::vector<float> Queries(Scene& scene, int32_t rows) const {
    return Gaussian(scene.rng, static_cast<int64_t>(rows) * Shape().heads * GetParam().head_dim, 2);
  }
};

TEST_P(AttentionTest, EqualsTheOracleOverAnyMixOfSegments) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    Scene scene(Geometry(), 400, seed);
    std::vector<AttentionChunk> chunks;
    int32_t rows = 0;
    for (int32_t slot = Between(scene.rng, 1, 3); slot >= 1; --slot) {
      const int32_t count = Between(scene.rng, 0, 1) ? 1 : Between(scene.rng, 2, 40);
      chunks.push_back(RandomSequence(scene, slot, rows, count));
      rows += count;
    }
    const auto queries = Queries(scene, rows);
    const auto want = OracleAttention(scene.pool, scene.table, chunks, Shape(), 1, queries);
    const auto got = Attend(scene, chunks, Shape(), queries, 1);
    // The oracle reads the same rounded rows, so a narrow pool type costs no exactness; 16 bits of a query's or of a
    // packed unit's weights do.
    EXPECT_TRUE(LargestError(got, want) <= 2e-4) << LargestError(got, want) << " at seed " << seed;
    for (int32_t workers = 2; workers <= 4; ++workers) {
      EXPECT_EQ(Attend(scene, chunks, Shape(), queries, workers), got)
          << workers << " workers, seed " << seed;
    }
  }
}

TEST_P(AttentionTest, ARowDoesNotDependOnTheRowsBesideIt) {
  Scene scene(Geometry(), 400, 99);
  const std::vector<AttentionChunk> chunks = {
      RandomSequence(scene, 1, 0, 37), RandomSequence(scene, 2, 37, 1), RandomSequence(scene, 3, 38, 130)};
  const auto queries = Queries(scene, 168);
  const auto together = Attend(scene, chunks, Shape(), queries, 2);
  const auto floats = static_cast<std::ptrdiff_t>(Shape().heads) * GetParam().head_dim;
  for (const AttentionChunk& chunk : chunks) {
    for (int32_t r = 0; r < chunk.rows; ++r) {
      AttentionChunk one = chunk;
      one.first_row = 0;
      one.rows = 1;
      one.start = chunk.start + r;
      const auto from = queries.begin() + (chunk.first_row + r) * floats;
      const auto row = together.begin() + (chunk.first_row + r) * floats;
      // Rows after it are in the table already; as in a recomputed prefill, they must not be seen.
      ASSERT_EQ(Attend(scene, {one}, Shape(), {from, from + floats}, 1),
                std::vector<float>(row, row + floats))
          << "slot " << chunk.slot << " row " << r;
    }
  }
}

TEST_P(AttentionTest, SeesAnEarlierSegmentWrittenInTheSameStep) {
  Scene scene(Geometry(), 40, 5);
  scene.Open(0);
  const int32_t text = scene.AddSegment(0, 20), picture = scene.AddSegment(0, 33);
  scene.Fill(0, text, 20);
  scene.Fill(0, picture, 33);
  const std::vector<AttentionChunk> chunks = {{0, text, 0, 20, 0}, {0, picture, 20, 33, 0}};
  const auto queries = Queries(scene, 53);
  const auto want = OracleAttention(scene.pool, scene.table, chunks, Shape(), 1, queries);
  // The table may count this step's rows before the step or after it.
  for (const int32_t counted : {0, 20}) {
    std::get<RawSegment>(scene.table.at(0).segments[text]).tokens = counted;
    EXPECT_TRUE(LargestError(Attend(scene, chunks, Shape(), queries, 1), want) <= 1e-4);
  }
}

// Overwrites some of a capsule's bytes, those of its header and tables as often as its rows'.
void Spoil(Scene& scene, const CapsuleSegment& capsule) {
  const KvGeometry& geometry = scene.pool.geometry();
  for (int32_t times = Between(scene.rng, 1, 40); times > 0; --times) {
    const bool head = Between(scene.rng, 0, 1) == 1;
    const int32_t page = head ? 0 : Between(scene.rng, 0, static_cast<int32_t>(capsule.pages.size()) - 1);
    const int64_t most = head ? std::min<int64_t>(256, geometry.PageBytes()) : geometry.PageBytes();
    scene.pool.Page(capsule.pages[page])[Between(scene.rng, 0, static_cast<int32_t>(most) - 1)] =
        static_cast<uint8_t>(Between(scene.rng, 0, 255));
  }
}

// A capsule's bytes may be anything: its own rows are then anything too, and nobody else's.
TEST_P(AttentionTest, SpoiltCapsulesHarmNoNeighbour) {
  for (uint64_t seed = 1; seed <= 25; ++seed) {
    Scene scene(Geometry(), 400, seed);
    scene.Open(0);
    const int32_t text = scene.AddSegment(0, 60);
    scene.Fill(0, text, 60);
    const AttentionChunk healthy{0, text, 0, 2, 58};
    const AttentionChunk spoilt = RandomSequence(scene, 1, 2, Between(scene.rng, 1, 9));
    const auto queries = Queries(scene, 2 + spoilt.rows);
    const int64_t own = int64_t{2} * Shape().heads * GetParam().head_dim;
    const auto want = Attend(scene, {healthy}, Shape(), {queries.begin(), queries.begin() + own}, 1);
    for (const auto& segment : scene.table.at(1).segments) {
      const auto* capsule = std::get_if<CapsuleSegment>(&segment);
      if (!capsule) continue;
      Spoil(scene, *capsule);
      std::vector<float> rows(static_cast<size_t>(capsule->tokens) * GetParam().head_dim);
      for (const KvPart part : {KvPart::kKey, KvPart::kValue})
        capsule->format->Decode(scene.pool, *capsule, 1, part, 0, rows.data());
    }
    const auto got = Attend(scene, {healthy, spoilt}, Shape(), queries, 2);
    EXPECT_EQ(std::vector<float>(got.begin(), got.begin() + own), want) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionTest, ::testing::ValuesIn(Cases()), [](const auto& param) {
  return std::string(param.param.name) + hwy::TargetName(param.param.target);
});

// Shapes that nobody chose. KVCAPSULE_TEST_FULL: for longer.
TEST(AttentionFuzzTest, EqualsTheOracleInAnyShape) {
  const int32_t rounds = std::getenv("KVCAPSULE_TEST_FULL") ? 600 : 20;
  const auto targets = hwy::SupportedAndGeneratedTargets();
  for (int32_t seed = 1; seed <= rounds; ++seed) {
    testing::Rng rng(seed);
    const testing::UseTarget use(targets[seed % targets.size()]);
    constexpr Dtype kTypes[] = {Dtype::kF32, Dtype::kF16, Dtype::kBF16};
    const KvGeometry geometry{Between(rng, 1, 2), Between(rng, 1, 4), 8 * Between(rng, 1, 20),
                              kTypes[Between(rng, 0, 2)]};
    const AttentionShape shape{geometry.kv_heads * Between(rng, 1, 8),
                               1 / std::sqrt(static_cast<float>(geometry.head_dim))};
    Scene scene(geometry, 400, seed);
    std::vector<AttentionChunk> chunks;
    int32_t rows = 0;
    for (int32_t slot = Between(rng, 1, 4); slot >= 1; --slot) {
      chunks.push_back(RandomSequence(scene, slot, rows, Between(rng, 1, 12)));
      rows += chunks.back().rows;
    }
    const auto queries = Gaussian(rng, int64_t{rows} * shape.heads * geometry.head_dim, 2);
    const int32_t layer = Between(rng, 0, geometry.layers - 1);
    const auto want = OracleAttention(scene.pool, scene.table, chunks, shape, layer, queries);
    const auto got = Attend(scene, chunks, shape, queries, Between(rng, 1, 3), layer);
    ASSERT_TRUE(LargestError(got, want) <= 2e-4)
        << LargestError(got, want) << " at seed " << seed << ": " << geometry.kv_heads << " KV heads of "
        << geometry.head_dim << ", " << shape.heads << " heads";
  }
}

// Against exact rows, not the pool's rounded ones: what the pool's type costs.
TEST(AttentionPrecisionTest, NarrowPoolsStayWithinTheirRounding) {
  for (const auto& [dtype, tolerance] :
       {std::pair{Dtype::kF32, 1e-5}, {Dtype::kF16, 4e-3}, {Dtype::kBF16, 3e-2}}) {
    std::vector<std::vector<float>> results;
    for (const Dtype type : {Dtype::kF32, dtype}) {
      Scene scene({2, 2, 64, type}, 40, 7);
      const AttentionChunk chunk = [&] {
        scene.Open(0);
        const int32_t segment = scene.AddSegment(0, 100);
        scene.Fill(0, segment, 100);
        return AttentionChunk{0, segment, 0, 10, 90};
      }();
      testing::Rng rng(8);
      results.push_back(Attend(scene, {chunk}, {4, 0.125f}, Gaussian(rng, 10 * 4 * 64), 1));
    }
    double worst = 0;
    for (size_t i = 0; i < results[0].size(); ++i)
      worst = std::max<double>(worst, std::abs(results[0][i] - results[1][i]));
    EXPECT_TRUE(worst <= tolerance) << worst;
    EXPECT_TRUE(dtype == Dtype::kF32 || worst > 0);
  }
}

TEST(AttentionWriteTest, EveryShareTogetherWritesEveryRowOnce) {
  const KvGeometry geometry{1, 2, 16, Dtype::kF32};
  for (int32_t workers = 1; workers <= 5; ++workers) {
    Scene scene(geometry, 20, 3);
    scene.Open(0);
    scene.Open(1);
    const std::vector<AttentionChunk> chunks = {{0, scene.AddSegment(0, 19), 0, 19, 0},
                                                {1, scene.AddSegment(1, 40), 19, 7, 30}};
    const auto keys = Gaussian(scene.rng, 26 * 32), values = Gaussian(scene.rng, 26 * 32);
    for (int32_t i = 0; i < workers; ++i)
      WriteKv(scene.pool, scene.table, chunks, 0, keys.data(), values.data(), i, workers);
    for (const AttentionChunk& chunk : chunks) {
      const auto& raw = std::get<RawSegment>(scene.table.at(chunk.slot).segments[0]);
      for (int32_t head = 0; head < 2; ++head) {
        const auto k = testing::RawRows(scene.pool, raw, chunk.start + chunk.rows, 0, KvPart::kKey, head);
        const auto v = testing::RawRows(scene.pool, raw, chunk.start + chunk.rows, 0, KvPart::kValue, head);
        for (int32_t r = 0; r < chunk.rows; ++r) {
          for (int32_t c = 0; c < 16; ++c) {
            const int32_t from = ((chunk.first_row + r) * 2 + head) * 16 + c, to = (chunk.start + r) * 16 + c;
            ASSERT_EQ(k[to], keys[from]);
            ASSERT_EQ(v[to], values[from]);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvcapsule
