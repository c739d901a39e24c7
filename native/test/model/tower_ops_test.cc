// The tower's attention, from its product with queries, keys and values on, against plain loops, at sizes that fill
// neither panels nor blocks, with packed matrices and on emulated tiles, and that a tile's result is the same in any company.
#include "model/tower_ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <tuple>
#include <vector>

#include "../emulated_tiles.h"
#include "../targets.h"

namespace kvcapsule {
namespace {

constexpr int64_t kHeads = 3, kTiles = 2;

class TowerAttentionTest : public ::testing::TestWithParam<std::tuple<int64_t, int64_t, TileProduct>> {
 protected:
  TowerAttentionTest()
      : shape_{kTiles, std::get<0>(GetParam()), kHeads, std::get<1>(GetParam()), std::get<2>(GetParam())},
        memory_(PackedMatrix::Bytes(3 * shape_.hidden(), shape_.hidden(), WeightType::kF32)) {
    linear_.matrix = PackedMatrix(3 * shape_.hidden(), shape_.hidden(), WeightType::kF32, memory_.data());
    for (int64_t output = 0; output < 3 * shape_.hidden(); ++output) {
      weights_.push_back(Draw(shape_.hidden()));
      // logits of a few units
      for (float& weight : weights_.back()) weight *= 4 / std::sqrt(static_cast<float>(shape_.hidden()));
      linear_.matrix.SetOutputs(output, 1, weights_.back().data());
    }
    x_ = Draw(kTiles * shape_.patches * shape_.hidden());
  }

  std::vector<float> Draw(int64_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = std::uniform_real_distribution<float>(-1, 1)(random_);
    return values;
  }

  // Of `tiles` tiles of x from `first` on.
  std::vector<float> Attend(int64_t first, int64_t tiles) const {
    TowerQkvOp qkv(linear_);
    TowerAttentionOp attention;
    qkv.shape = attention.shape = shape_;
    qkv.shape.tiles = attention.shape.tiles = tiles;
    const int64_t tile_floats = shape_.patches * shape_.hidden();
    Graph graph(4);
    ggml_context* context = graph.context.get();
    ggml_tensor* in = ggml_new_tensor_2d(context, GGML_TYPE_F32, shape_.hidden(), tiles * shape_.patches);
    ggml_set_input(in);
    ggml_tensor* out = AttendTower(context, ProjectTowerQkv(context, in, qkv), attention);
    ggml_set_output(out);
    ggml_build_forward_expand(graph.nodes, out);
    CpuBackend backend(1);
    backend.Compute(graph, {}, [&] {
      std::copy_n(x_.data() + first * tile_floats, tiles * tile_floats, static_cast<float*>(in->data));
    });
    return {Floats(out), Floats(out) + tiles * tile_floats};
  }

  // Channel c of query, key or value `part` of a patch of a tile.
  double Channel(int64_t row, int64_t part, int64_t head, int64_t c) const {
    const std::vector<float>& weights = weights_[part * shape_.hidden() + head * shape_.head_dim + c];
    double sum = 0;
    for (int64_t i = 0; i < shape_.hidden(); ++i) sum += double{x_[row * shape_.hidden() + i]} * weights[i];
    return sum;
  }

  // softmax(q k^T / sqrt(head_dim)) v of one tile and head: [patches][head_dim].
  std::vector<double> Plain(int64_t tile, int64_t head) const {
    const int64_t patches = shape_.patches, dim = shape_.head_dim;
    std::vector<double> part[3], out(patches * dim), logits(patches);
    for (int64_t which = 0; which < 3; ++which) {
      for (int64_t i = 0; i < patches * dim; ++i)
        part[which].push_back(Channel(tile * patches + i / dim, which, head, i % dim));
    }
    for (int64_t query = 0; query < patches; ++query) {
      double sum = 0;
      for (int64_t key = 0; key < patches; ++key) {
        logits[key] = 0;
        for (int64_t c = 0; c < dim; ++c) logits[key] += part[0][query * dim + c] * part[1][key * dim + c];
        logits[key] = std::exp(logits[key] / std::sqrt(static_cast<double>(dim)));
        sum += logits[key];
      }
      for (int64_t key = 0; key < patches; ++key) {
        for (int64_t c = 0; c < dim; ++c) out[query * dim + c] += logits[key] / sum * part[2][key * dim + c];
      }
    }
    return out;
  }

  std::mt19937 random_{11};
  const TowerShape shape_;
  LargeBuffer memory_;
  PackedLinear linear_;
  std::vector<std::vector<float>> weights_;
  std::vector<float> x_;
};

TEST_P(TowerAttentionTest, IsThePlainLoopOnEveryTarget) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    const testing::UseTarget use(target);
    const std::vector<float> all = Attend(0, kTiles);
    for (int64_t unit = 0; unit < kTiles * kHeads; ++unit) {
      const int64_t tile = unit / kHeads, head = unit % kHeads;
      const std::vector<double> plain = Plain(tile, head);
      for (int64_t patch = 0; patch < shape_.patches; ++patch) {
        const float* row = &all[((tile * shape_.patches + patch) * kHeads + head) * shape_.head_dim];
        for (int64_t c = 0; c < shape_.head_dim; ++c)
          ASSERT_NEAR(row[c], plain[patch * shape_.head_dim + c], 2e-4)
              << hwy::TargetName(target) << ", tile " << tile << ", head " << head << ", patch " << patch << ", " << c;
      }
    }
  }
}

TEST_P(TowerAttentionTest, ATilesResultIsTheSameInAnyCompany) {
  const std::vector<float> all = Attend(0, kTiles), alone = Attend(1, 1);
  EXPECT_EQ(std::vector<float>(all.end() - static_cast<int64_t>(alone.size()), all.end()), alone);
}

// patches below, at and above a block of queries and a panel; heads that begin and end inside panels
INSTANTIATE_TEST_SUITE_P(Sizes, TowerAttentionTest,
                         ::testing::Combine(::testing::Values(1, 5, 47, 48, 49, 130), ::testing::Values(8, 24, 72),
                                            ::testing::Values(nullptr, testing::kEmulatedProduct)));

}  // namespace
}  // namespace kvcapsule
