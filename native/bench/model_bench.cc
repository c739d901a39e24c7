// Share of the machine's roofs by part of a model, measured in one run on the model's own weights: a Markdown table.
// Usage: model_bench folder=DIR [name=value]...
//   folder=  a model folder; tools/oracle/make_geometry.py makes such of real sizes with random weights
//   dtype=f32|f16|bf16|q8_0|q4_1 of the weights   rows=1137 of a prefill   context=1137 tokens before a decode step
//   parts=all, or decode for its steps alone   threads=1   seconds=2 that each part is measured, one round at least
//   clock=wall|cpu  cpu: the thread's own time, for one thread on a machine that others use too; the roofs are by wall
// Best of all rounds. Parts of a layer take another layer's weights each round, so that these come from where they come
// from in a model; the whole tower, prefill and decode steps run as the engine runs them.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "backend/arithmetic.h"
#include "backend/roof.h"
#include "common/isa.h"
#include "folder_config.h"
#include "model/decoder.h"
#include "model/vision_tower.h"
#include "options.h"

namespace kvcapsule::bench {
namespace {

constexpr std::array kBatches = {1, 4, 16};

// Places for what an operation of one graph needs.
struct Ops {
  DenseOp dense;
  TowerQkvOp tower_qkv;
  TowerAttentionOp tower_attention;
  QkvOp qkv;
};

class ModelBench {
 public:
  explicit ModelBench(const Options& options)
      : options_(options),
        config_(testing::ReadFolderConfig(options.at("folder"))),
        backend_(options.Int("threads")),
        weights_(LoadWeights(options.at("folder"), config_, options.Weights(), backend_)),
        roof_(MeasureRoof(options.Int("threads"), 256 << 20)),
        rope_(config_.text),
        pool_({config_.text.layers, config_.text.kv_heads, config_.text.head_dim, Dtype::kF16}, Blocks()),
        table_(&pool_, kBatches.back()) {
    std::memset(pool_.Page(0), 0x11, pool_.blocks() * pool_.geometry().BlockBytes());
    for (int32_t slot = 0; slot < kBatches.back(); ++slot) Open(slot);
    for (int32_t i = 0; i < options.Int("rows"); ++i) positions_.push_back(i);
    rope_.Prepare(positions_);
  }

  void Run() {
    std::printf("\n%s, %d threads: %.1f GFLOP/s, %.1f GB/s read\n", InstructionSet().c_str(), options_.Int("threads"),
                roof_.flops_per_second / 1e9, roof_.read_bytes_per_second / 1e9);
    if (options_.at("parts") == "all") {
      std::printf("\n| part | ms | GFLOP/s | share of the roof |\n| --- | --- | --- | --- |\n");
      RunTower();
      RunPrefill();
    }
    std::printf("\n| decode step of | ms | GB/s | share of the roof |\n| --- | --- | --- | --- |\n");
    for (const int32_t batch : kBatches) RunDecode(batch);
  }

 private:
  using Build = std::function<ggml_tensor*(ggml_context*, ggml_tensor* x, Ops&, size_t round)>;

  int32_t BlocksOfSlot() const {
    return std::max(options_.Int("rows"), options_.Int("context") + 1) / KvGeometry::kBlockTokens + 1;
  }
  int64_t Blocks() const { return int64_t{BlocksOfSlot()} * kBatches.back(); }

  void Open(int32_t slot) {
    std::vector<int32_t> ops = {static_cast<int32_t>(PageOp::kOpen),    slot, 0,
                                static_cast<int32_t>(PageOp::kSegment), slot, 0,
                                static_cast<int32_t>(PageOp::kBlocks),  slot, BlocksOfSlot() + 1, 0};
    for (int32_t i = 0; i < BlocksOfSlot(); ++i) ops.push_back(slot * BlocksOfSlot() + i);
    table_.Apply(ops, {});
  }

  // Seconds of the best round; round(n, begin) sets `begin` where its time begins, if it is not at once.
  double Best(const std::function<void(size_t round, double& begin)>& run) const {
    double best = INFINITY;
    const double stop = options_.Now() + options_.Real("seconds");
    for (size_t round = 0; round == 0 || options_.Now() < stop; ++round) {
      double begin = options_.Now();
      run(round, begin);
      best = std::min(best, options_.Now() - begin);
    }
    return best;
  }

  void Line(const char* name, double macs, double seconds) const {
    const double speed = 2 * macs / seconds;
    std::printf("| %s | %.3g | %.1f | %.0f %% |\n", name, seconds * 1e3, speed / 1e9,
                100 * speed / roof_.flops_per_second);
    std::fflush(stdout);
  }

  // One operation over `rows` rows of `inputs` floats.
  void RunPart(const char* name, int64_t rows, int64_t inputs, int64_t macs, const Build& build) {
    const double seconds = Best([&](size_t round, double& begin) {
      Graph graph(16);
      Ops ops;
      ggml_tensor* x = ggml_new_tensor_2d(graph.context.get(), GGML_TYPE_F32, inputs, rows);
      ggml_set_input(x);
      ggml_tensor* y = build(graph.context.get(), x, ops, round);
      ggml_set_output(y);
      ggml_build_forward_expand(graph.nodes, y);
      backend_.Compute(graph, {macs, 0}, [&] {
        for (ggml_tensor* node = ggml_get_first_tensor(graph.context.get()); node;
             node = ggml_get_next_tensor(graph.context.get(), node)) {
          if (node->flags & GGML_TENSOR_FLAG_INPUT) Fill(node);
        }
        begin = options_.Now();
      });
    });
    Line(name, static_cast<double>(macs), seconds);
  }

  // A period that no layout has, in which products neither vanish nor overflow.
  static void Fill(ggml_tensor* tensor) {
    auto* to = static_cast<float*>(tensor->data);
    for (int64_t i = 0; i < ggml_nelements(tensor); ++i) to[i] = static_cast<float>(i % 10007) / 10007 - 0.5f;
  }

  static ggml_tensor* Input(ggml_context* context, int64_t columns, int64_t rows) {
    ggml_tensor* tensor = ggml_new_tensor_2d(context, GGML_TYPE_F32, columns, rows);
    ggml_set_input(tensor);
    return tensor;
  }

  static void Set(DenseOp& op, const PackedLinear& linear, const LayerNorm& norm = {}, float epsilon = 0) {
    op.linear = &linear;
    op.norm = norm;
    op.epsilon = epsilon;
  }

  void RunTower() {
    const VisionConfig& v = config_.vision;
    const int64_t patches = int64_t{config_.patches_per_side()} * config_.patches_per_side(), hidden = v.hidden;
    const TowerShape shape{1, patches, v.heads, hidden / v.heads};
    const auto& layers = weights_.vision;
    const int64_t pixels = weights_.patch_embedding.matrix.inputs();
    RunPart("patch embedding", patches, pixels, patches * pixels * hidden,
            [&](ggml_context* c, ggml_tensor* x, Ops& ops, size_t) {
              Set(ops.dense, weights_.patch_embedding);
              return ProjectAndAdd(c, x, Input(c, hidden, patches), ops.dense);
            });
    RunPart("tower: norm, queries, keys and values", patches, hidden, 3 * patches * hidden * hidden,
            [&](ggml_context* c, ggml_tensor* x, Ops& ops, size_t round) {
              const VisionLayer& layer = layers[round % layers.size()];
              Set(ops.tower_qkv, layer.qkv, layer.norm1, v.layer_norm_eps);
              ops.tower_qkv.shape = shape;
              return ProjectTowerQkv(c, x, ops.tower_qkv);
            });
    RunPart("tower: attention", v.heads, shape.HeadFloats(), 2 * patches * patches * hidden,
            [&](ggml_context* c, ggml_tensor* x, Ops& ops, size_t) {
              ops.tower_attention.shape = shape;
              return AttendTower(c, x, ops.tower_attention);
            });
    RunPart("tower: output, residual", patches, hidden, patches * hidden * hidden,
            [&](ggml_context* c, ggml_tensor* x, Ops& ops, size_t round) {
              Set(ops.dense, layers[round % layers.size()].out);
              return ProjectAndAdd(c, x, Input(c, hidden, patches), ops.dense);
            });
    RunPart("tower: norm, fc1, gelu", patches, hidden, patches * hidden * v.intermediate,
            [&](ggml_context* c, ggml_tensor* x, Ops& ops, size_t round) {
              const VisionLayer& layer = layers[round % layers.size()];
              Set(ops.dense, layer.fc1, layer.norm2, v.layer_norm_eps);
              return ProjectGelu(c, x, v.intermediate, ops.dense);
            });
    RunPart("tower: fc2, residual", patches, v.intermediate, patches * hidden * v.intermediate,
            [&](ggml_context* c, ggml_tensor* x, Ops& ops, size_t round) {
              Set(ops.dense, layers[round % layers.size()].fc2);
              return ProjectAndAdd(c, x, Input(c, hidden, patches), ops.dense);
            });
    const int64_t together = weights_.connector.matrix.inputs(), tokens = config_.tokens_per_tile();
    RunPart("connector", tokens, together, tokens * together * config_.text.hidden,
            [&](ggml_context* c, ggml_tensor* x, Ops& ops, size_t) {
              Set(ops.dense, weights_.connector);
              return Project(c, x, config_.text.hidden, ops.dense);
            });
    RunWholeTower(static_cast<double>(patches * pixels * hidden + tokens * together * config_.text.hidden));
  }

  // around: multiply-adds before and after the layers.
  void RunWholeTower(double around) {
    const VisionTower tower(config_, weights_);
    RgbImage tile{config_.image.tile, config_.image.tile, {}};
    for (int32_t i = 0; i < 3 * tile.width * tile.height; ++i) tile.pixels.push_back(static_cast<uint8_t>(i * 7919 >> 5));
    const double seconds = Best([&](size_t, double&) {
      TowerBatch batch{{&tile}, 0, {}};
      tower.Advance(batch, tower.layers(), backend_);
    });
    Line("**tower, one tile**", around + static_cast<double>(tower.LayerMacs()) * tower.layers(), seconds);
  }

  void RunPrefill() {
    const TextConfig& t = config_.text;
    const auto rows = static_cast<int64_t>(positions_.size());
    const int64_t hidden = t.hidden, width = int64_t{t.heads} * t.head_dim, all = width + 2LL * t.kv_heads * t.head_dim;
    const auto& layers = weights_.text;
    RunPart("prefill: norm, queries, keys and values, rotation", rows, hidden, rows * hidden * all,
            [&](ggml_context* c, ggml_tensor* x, Ops& ops, size_t round) {
              const TextLayer& layer = layers[round % layers.size()];
              Set(ops.qkv, layer.qkv, layer.input_norm, t.rms_norm_eps);
              ops.qkv.config = &t;
              ops.qkv.rope = &rope_;
              ops.qkv.positions = positions_;
              return ProjectQkv(c, x, ops.qkv);
            });
    RunPrefillAttention(rows, width);
    RunPart("prefill: output, residual", rows, width, rows * hidden * width,
            [&](ggml_context* c, ggml_tensor* x, Ops& ops, size_t round) {
              Set(ops.dense, layers[round % layers.size()].out);
              return ProjectAndAdd(c, x, Input(c, hidden, rows), ops.dense);
            });
    RunPart("prefill: norm, gate, up, silu", rows, hidden, 2 * rows * hidden * t.intermediate,
            [&](ggml_context* c, ggml_tensor* x, Ops& ops, size_t round) {
              const TextLayer& layer = layers[round % layers.size()];
              Set(ops.dense, layer.gate_up, layer.post_norm, t.rms_norm_eps);
              return ProjectGated(c, x, t.intermediate, ops.dense);
            });
    RunPart("prefill: down, residual", rows, t.intermediate, rows * hidden * t.intermediate,
            [&](ggml_context* c, ggml_tensor* x, Ops& ops, size_t round) {
              Set(ops.dense, layers[round % layers.size()].down);
              return ProjectAndAdd(c, x, Input(c, hidden, rows), ops.dense);
            });
    const int64_t before_last = (t.layers - 1) * (hidden * (all + width + 3LL * t.intermediate) + width * (rows + 1));
    const double macs = static_cast<double>(rows * (before_last + hidden * all)) +
                        static_cast<double>(hidden * (width + 3LL * t.intermediate + t.vocab));
    const AttentionChunk chunk{0, 0, 0, static_cast<int32_t>(rows), 0};
    Line("**prefill, one sequence**", macs, BestForward({&chunk, 1}, positions_));
  }

  // Every row sees itself and those before it.
  void RunPrefillAttention(int64_t rows, int64_t width) {
    struct Call {
      AttentionStep step;
      static void Run(ggml_tensor* out, int, int, void* user) {
        static_cast<Call*>(user)->step.Run(0, Floats(out->src[0]), static_cast<float*>(out->data));
      }
    };
    const AttentionChunk chunk{0, 0, 0, static_cast<int32_t>(rows), 0};
    std::unique_ptr<Call> call;
    RunPart("prefill: attention", rows, width, rows * (rows + 1) * width,
            [&](ggml_context* c, ggml_tensor* x, Ops&, size_t) {
              call.reset(new Call{{pool_, table_, {&chunk, 1}, Shape(), &operators_}});
              return CustomOp(c, width, rows, {x}, Call::Run, call.get());
            });
  }

  AttentionShape Shape() const {
    return {config_.text.heads, 1 / std::sqrt(static_cast<float>(config_.text.head_dim))};
  }

  // Seconds of a step whose chunks' last rows are sampled.
  double BestForward(std::span<const AttentionChunk> chunks, std::span<const int32_t> positions) {
    Decoder decoder(config_, weights_);
    std::vector<int32_t> sampled;
    for (const AttentionChunk& chunk : chunks) sampled.push_back(chunk.first_row + chunk.rows - 1);
    const DecoderInput input{chunks, positions, sampled,
                             [&](int32_t row, float* out) { std::fill_n(out, config_.text.hidden, 0.01f * (row % 7)); }};
    return Best([&](size_t, double&) { decoder.Forward(input, pool_, table_, backend_); });
  }

  void RunDecode(int32_t batch) {
    const int32_t context = options_.Int("context");
    std::vector<AttentionChunk> chunks;
    for (int32_t slot = 0; slot < batch; ++slot) chunks.push_back({slot, 0, slot, 1, context});
    const double seconds = BestForward(chunks, std::vector<int32_t>(batch, context));
    int64_t bytes = weights_.head.matrix.bytes() +
                    batch * (context + int64_t{1}) * pool_.geometry().BlockBytes() / KvGeometry::kBlockTokens;
    for (const TextLayer& layer : weights_.text) {
      for (const PackedLinear* linear : {&layer.qkv, &layer.out, &layer.gate_up, &layer.down})
        bytes += linear->matrix.bytes();
    }
    const double speed = static_cast<double>(bytes) / seconds;
    std::printf("| %d | %.3g | %.2f | %.0f %% |\n", batch, seconds * 1e3, speed / 1e9,
                100 * speed / roof_.read_bytes_per_second);
    std::fflush(stdout);
  }

  const Options& options_;
  const ModelConfig config_;
  CpuBackend backend_;
  const Weights weights_;
  const Roof roof_;
  RopeTable rope_;
  KvPool pool_;
  SequenceTable table_;
  CapsuleOperators operators_;
  std::vector<int32_t> positions_;
};

int Main(int argc, char** argv) {
  Options options({{"folder", ""},
                   {"dtype", "bf16"},
                   {"parts", "all"},
                   {"rows", "1137"},
                   {"context", "1137"},
                   {"threads", "1"},
                   {"seconds", "2"}});
  if (!options.Read(argc, argv)) return 2;
  options.Print();
  ModelBench(options).Run();
  return 0;
}

}  // namespace
}  // namespace kvcapsule::bench

int main(int argc, char** argv) {
  kvcapsule::LimitIsaByEnvironment();
  return kvcapsule::bench::Main(argc, argv);
}
