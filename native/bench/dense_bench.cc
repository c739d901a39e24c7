// Speed of the model's products alone, on made-up data, beside the machine's roof measured in the same run.
// Usage: dense_bench [name=value]...
//   part=product    W x of `rows` rows, `inputs` to `outputs`: a decoder's prefill has as many rows as its chunk has
//                   tokens, a decode step as many as its batch
//   part=attention  the tower's attention of `tiles` tiles of `patches` patches, `heads` heads of `hidden` channels
//   part=layer      a whole layer of that tower: norms, products to 3 x hidden, hidden, `intermediate`, hidden
//   dtype=f32|f16|bf16|q8_0|q4_1 of the weights   threads=1   seconds=2 that are measured
//   clock=wall|cpu  cpu: the thread's own time, for one thread on a machine that others use too; the roof is by wall
// Best of all rounds. The defaults are SmolVLM-256M's tower.
#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/arithmetic.h"
#include "backend/roof.h"
#include "common/isa.h"
#include "model/tower_ops.h"
#include "options.h"

namespace kvcapsule::bench {
namespace {

// A period that no layout has, in which products neither vanish nor overflow.
void Fill(float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(i % 10007) / 10007 - 0.5f;
}

// A matrix and the memory it lies in.
struct Matrix {
  Matrix(const Options& options, int64_t outputs, int64_t inputs)
      : memory(PackedMatrix::Bytes(outputs, inputs, options.Weights())) {
    linear.matrix = PackedMatrix(outputs, inputs, options.Weights(), memory.data());
    linear.bias.resize(int64_t{linear.matrix.panels()} * PackedMatrix::kPanel);
    std::vector<float> row(inputs);
    Fill(row.data(), inputs);
    for (int64_t output = 0; output < outputs; ++output) linear.matrix.SetOutputs(output, 1, row.data());
  }

  LargeBuffer memory;
  PackedLinear linear;
};

// One measured graph: Build appends it to a context and tells its result; what it needs lives as long as it.
class Part {
 public:
  virtual ~Part() = default;
  virtual ggml_tensor* Build(ggml_context* context, ggml_tensor* x) = 0;
  virtual int64_t Inputs() const = 0;  // floats of a row of x
  virtual int64_t Rows() const = 0;
  virtual int64_t Macs() const = 0;
};

class Product : public Part {
 public:
  explicit Product(const Options& options)
      : rows_(options.Int("rows")),
        outputs_(options.Int("outputs")),
        matrix_(options, outputs_, options.Int("inputs")) {}
  ggml_tensor* Build(ggml_context* context, ggml_tensor* x) override {
    op_ = std::make_unique<DenseOp>(matrix_.linear);
    return Project(context, x, outputs_, *op_);
  }
  int64_t Inputs() const override { return matrix_.linear.matrix.inputs(); }
  int64_t Rows() const override { return rows_; }
  int64_t Macs() const override { return rows_ * Inputs() * outputs_; }

 private:
  const int64_t rows_, outputs_;
  const Matrix matrix_;
  std::unique_ptr<DenseOp> op_;
};

TowerShape ShapeOf(const Options& options) {
  const int32_t heads = options.Int("heads");
  return {options.Int("tiles"), options.Int("patches"), heads, options.Int("hidden") / heads};
}

class Attention : public Part {
 public:
  explicit Attention(const Options& options) : shape_(ShapeOf(options)) {}
  ggml_tensor* Build(ggml_context* context, ggml_tensor* x) override {
    op_ = std::make_unique<TowerAttentionOp>();
    op_->shape = shape_;
    return AttendTower(context, x, *op_);
  }
  int64_t Inputs() const override { return shape_.HeadFloats(); }
  int64_t Rows() const override { return shape_.tiles * shape_.heads; }
  int64_t Macs() const override { return 2 * shape_.tiles * shape_.patches * shape_.patches * shape_.hidden(); }

 private:
  const TowerShape shape_;
  std::unique_ptr<TowerAttentionOp> op_;
};

class Layer : public Part {
 public:
  explicit Layer(const Options& options)
      : shape_(ShapeOf(options)),
        intermediate_(options.Int("intermediate")),
        qkv_(options, 3 * shape_.hidden(), shape_.hidden()),
        out_(options, shape_.hidden(), shape_.hidden()),
        fc1_(options, intermediate_, shape_.hidden()),
        fc2_(options, shape_.hidden(), intermediate_),
        constants_(ggml_init({2 * ggml_tensor_overhead() + 2 * sizeof(float) * shape_.hidden() + 64, nullptr, false})) {
    norm_.weight = ggml_new_tensor_1d(constants_.get(), GGML_TYPE_F32, shape_.hidden());
    norm_.bias = ggml_new_tensor_1d(constants_.get(), GGML_TYPE_F32, shape_.hidden());
    for (ggml_tensor* one : {norm_.weight, norm_.bias}) Fill(static_cast<float*>(one->data), shape_.hidden());
  }
  ggml_tensor* Build(ggml_context* context, ggml_tensor* x) override {
    call_ = std::make_unique<Call>(*this);
    ggml_tensor* attended = AttendTower(context, ProjectTowerQkv(context, x, call_->qkv), call_->attention);
    x = ProjectAndAdd(context, attended, x, call_->out);
    return ProjectAndAdd(context, ProjectGelu(context, x, intermediate_, call_->fc1), x, call_->fc2);
  }
  int64_t Inputs() const override { return shape_.hidden(); }
  int64_t Rows() const override { return shape_.tiles * shape_.patches; }
  int64_t Macs() const override {
    return Rows() * shape_.hidden() * (4 * shape_.hidden() + 2 * intermediate_ + 2 * shape_.patches);
  }

 private:
  static constexpr float kEpsilon = 1e-6f;

  struct Call {
    explicit Call(const Layer& of)
        : qkv(of.qkv_.linear, of.norm_, kEpsilon),
          out(of.out_.linear),
          fc1(of.fc1_.linear, of.norm_, kEpsilon),
          fc2(of.fc2_.linear) {
      qkv.shape = attention.shape = of.shape_;
    }
    TowerQkvOp qkv;
    TowerAttentionOp attention;
    DenseOp out, fc1, fc2;
  };

  const TowerShape shape_;
  const int64_t intermediate_;
  const Matrix qkv_, out_, fc1_, fc2_;
  const GgmlContext constants_;
  LayerNorm norm_;
  std::unique_ptr<Call> call_;
};

std::unique_ptr<Part> PartOf(const Options& options) {
  const std::string& name = options.at("part");
  if (name == "attention") return std::make_unique<Attention>(options);
  if (name == "layer") return std::make_unique<Layer>(options);
  return std::make_unique<Product>(options);
}

// Seconds of the best round.
double BestRound(Part& part, const Options& options) {
  CpuBackend backend(options.Int("threads"));
  double best = INFINITY;
  const double stop = options.Now() + options.Real("seconds");
  for (int32_t round = 0; round < 3 || options.Now() < stop; ++round) {
    Graph graph(16);
    ggml_tensor* x = ggml_new_tensor_2d(graph.context.get(), GGML_TYPE_F32, part.Inputs(), part.Rows());
    ggml_set_input(x);
    ggml_tensor* y = part.Build(graph.context.get(), x);
    ggml_set_output(y);
    ggml_build_forward_expand(graph.nodes, y);
    double begin = 0;
    backend.Compute(graph, {part.Macs(), 0}, [&] {
      Fill(static_cast<float*>(x->data), ggml_nelements(x));
      begin = options.Now();
    });
    best = std::min(best, options.Now() - begin);
  }
  return best;
}

int Main(int argc, char** argv) {
  Options options({{"part", "product"},
                   {"rows", "1024"},
                   {"inputs", "768"},
                   {"outputs", "768"},
                   {"tiles", "1"},
                   {"patches", "1024"},
                   {"heads", "12"},
                   {"hidden", "768"},
                   {"intermediate", "3072"},
                   {"dtype", "bf16"},
                   {"threads", "1"},
                   {"seconds", "2"}});
  if (!options.Read(argc, argv)) return 2;
  const std::unique_ptr<Part> part = PartOf(options);
  const double seconds = BestRound(*part, options);
  const double flops = MeasureRoof(options.Int("threads"), 64 << 20).flops_per_second;
  const double speed = 2 * static_cast<double>(part->Macs()) / seconds;
  options.Print();
  std::printf("\n  %s: %.3f ms, %.1f GFLOP/s (%.0f %% of the roof's %.1f)\n", InstructionSet().c_str(), seconds * 1e3,
              speed / 1e9, 100 * speed / flops, flops / 1e9);
  return 0;
}

}  // namespace
}  // namespace kvcapsule::bench

int main(int argc, char** argv) {
  kvcapsule::LimitIsaByEnvironment();
  return kvcapsule::bench::Main(argc, argv);
}
