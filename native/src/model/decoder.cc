#include "model/decoder.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "attention/kernels.h"

namespace kvcapsule {
namespace {

// What a layer's custom operations need; lives as long as its graph.
struct LayerCall {
  const KvPool* pool;
  const SequenceTable* table;
  std::span<const AttentionChunk> chunks;
  AttentionShape shape;
  AttentionStep* attention;
  int32_t layer;
  QkvOp qkv;
  DenseOp out, gate_up, down;
  const DecoderInput* input;
};

void WriteKvOp(ggml_tensor* out, int ith, int nth, void* user) {
  const auto& call = *static_cast<const LayerCall*>(user);
  const ggml_tensor* qkv = out->src[0];
  const int64_t rows = qkv->ne[1], dim = call.qkv.config->head_dim;
  const float* keys = Floats(qkv) + rows * call.qkv.config->heads * dim;
  WriteKv(*call.pool, *call.table, call.chunks, call.layer, keys,
          keys + rows * call.qkv.config->kv_heads * dim, ith, nth);
}

void AttentionOp(ggml_tensor* out, int ith, int /*nth*/, void* user) {
  const auto& call = *static_cast<const LayerCall*>(user);
  if (call.input->observe && ith == 0) call.input->observe(call.layer, call.shape, Floats(out->src[0]));
  call.attention->Run(call.layer, Floats(out->src[0]), static_cast<float*>(out->data));
}

// Builds one step's graph.
class StepGraph {
 public:
  StepGraph(const TextConfig& config, const DecoderInput& input)
      : config_(config),
        graph_(16 + 8 * static_cast<size_t>(config.layers)),
        samples_(static_cast<int64_t>(input.sampled_rows.size())) {
    const auto rows = static_cast<int64_t>(input.positions.size());
    embeddings_ = ggml_new_tensor_2d(context(), GGML_TYPE_F32, config_.hidden, rows);
    ggml_set_input(embeddings_);
    if (samples_ > 0 && samples_ < rows) {
      sampled_ = ggml_new_tensor_1d(context(), GGML_TYPE_I32, samples_);
      ggml_set_input(sampled_);
    }
  }

  void Build(std::vector<LayerCall>& calls, DenseOp& head) {
    ggml_tensor* x = embeddings_;
    for (LayerCall& call : calls) x = Layer(call, x, &call == &calls.back());
    if (samples_ == 0) return;
    logits_ = Project(context(), x, config_.vocab, head);
    ggml_set_output(logits_);
    ggml_build_forward_expand(graph_.nodes, logits_);
  }

  void Fill(const DecoderInput& input) const {
    const size_t rows = input.positions.size();
    for (size_t row = 0; row < rows; ++row) {
      input.embed(static_cast<int32_t>(row), static_cast<float*>(embeddings_->data) + row * config_.hidden);
    }
    if (sampled_)
      ggml_backend_tensor_set(sampled_, input.sampled_rows.data(), 0, input.sampled_rows.size_bytes());
  }

  const Graph& graph() const { return graph_; }
  const ggml_tensor* logits() const { return logits_; }

 private:
  ggml_context* context() const { return graph_.context.get(); }

  ggml_tensor* Layer(LayerCall& call, ggml_tensor* x, bool last) {
    ggml_tensor* qkv = ProjectQkv(context(), x, call.qkv);
    // The write has no result to speak of; as an argument of the attention it puts ggml's barrier between.
    ggml_tensor* written =
        ggml_custom_4d(context(), GGML_TYPE_F32, 1, 1, 1, 1, &qkv, 1, WriteKvOp, GGML_N_TASKS_MAX, &call);
    ggml_build_forward_expand(graph_.nodes, written);
    // In the last layer all that is wanted beyond keys and values is the sampled rows.
    if (last && samples_ == 0) return x;
    ggml_tensor* arguments[] = {qkv, written};
    ggml_tensor* attended =
        ggml_custom_4d(context(), GGML_TYPE_F32, int64_t{config_.heads} * config_.head_dim, x->ne[1], 1, 1,
                       arguments, 2, AttentionOp, GGML_N_TASKS_MAX, &call);
    if (last && sampled_) {
      attended = ggml_get_rows(context(), attended, sampled_);
      x = ggml_get_rows(context(), x, sampled_);
    }
    x = ProjectAndAdd(context(), attended, x, call.out);
    ggml_tensor* gated = ProjectGated(context(), x, config_.intermediate, call.gate_up);
    return ProjectAndAdd(context(), gated, x, call.down);
  }

  const TextConfig& config_;
  Graph graph_;
  ggml_tensor* embeddings_ = nullptr;
  const int64_t samples_;
  ggml_tensor* sampled_ = nullptr;  // row numbers, where not all rows are sampled
  ggml_tensor* logits_ = nullptr;
};

void Set(DenseOp& op, const PackedLinear& linear, const LayerNorm& norm, float epsilon) {
  op.linear = &linear;
  op.norm = norm;
  op.epsilon = epsilon;
}

}  // namespace

int64_t DecoderScratchBytes(const TextConfig& text, int64_t rows, int64_t samples) {
  const int64_t attended = int64_t{text.heads} * text.head_dim;
  const int64_t qkv = attended + 2 * int64_t{text.kv_heads} * text.head_dim;
  // what is alive at once: around the attention, around the gated product, around the head
  const int64_t row = std::max<int64_t>(text.hidden + qkv + attended, 2 * int64_t{text.hidden} + text.intermediate);
  const int64_t floats = std::max(rows * row, samples * (int64_t{text.hidden} + text.vocab));
  const int64_t parts = 1 + text.context_tokens / AttentionStep::kPartTokens;
  const int64_t states = samples * parts * SoftmaxState::Floats(text.heads, text.head_dim);
  return (floats + states) * static_cast<int64_t>(sizeof(float));
}

Decoder::Decoder(const ModelConfig& config, const Weights& weights)
    : config_(config), weights_(weights), rope_(config.text) {}

std::span<const float> Decoder::Forward(const DecoderInput& input, const KvPool& pool,
                                        const SequenceTable& table, CpuBackend& backend) {
  const TextConfig& text = config_.text;
  const AttentionShape shape{text.heads, 1.0f / std::sqrt(static_cast<float>(text.head_dim))};
  AttentionStep attention(pool, table, input.chunks, shape, &operators_);
  rope_.Prepare(input.positions);
  const auto rows = static_cast<int64_t>(input.positions.size());
  Work work{0, 0};
  const auto count = [&](const PackedLinear& linear) {
    work.weight_bytes += linear.matrix.bytes();
    work.macs += linear.matrix.weights() * rows;
  };
  std::vector<LayerCall> calls(text.layers);
  for (int32_t i = 0; i < text.layers; ++i) {
    const TextLayer& layer = weights_.text[i];
    LayerCall& call = calls[i];
    call.pool = &pool;
    call.table = &table;
    call.chunks = input.chunks;
    call.shape = shape;
    call.attention = &attention;
    call.layer = i;
    call.input = &input;
    call.qkv.config = &text;
    call.qkv.rope = &rope_;
    call.qkv.positions = input.positions;
    Set(call.qkv, layer.qkv, layer.input_norm, text.rms_norm_eps);
    Set(call.out, layer.out, {}, 0);
    Set(call.gate_up, layer.gate_up, layer.post_norm, text.rms_norm_eps);
    Set(call.down, layer.down, {}, 0);
    for (const PackedLinear* linear : {&layer.qkv, &layer.out, &layer.gate_up, &layer.down}) count(*linear);
  }
  DenseOp head;
  Set(head, weights_.head, weights_.final_norm, text.rms_norm_eps);
  StepGraph step(text, input);
  step.Build(calls, head);
  count(weights_.head);
  work.macs += attention.Macs() * text.layers;
  backend.Compute(step.graph(), work, [&] { step.Fill(input); });
  if (!step.logits()) return {};
  return {Floats(step.logits()), static_cast<size_t>(ggml_nelements(step.logits()))};
}

}  // namespace kvcapsule
