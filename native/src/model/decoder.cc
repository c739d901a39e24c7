#include "model/decoder.h"

#include <cmath>

#include "model/layers.h"

namespace kvcapsule {
namespace {

// What a layer's custom operations need; lives as long as its graph.
struct AttentionCall {
  const KvPool* pool;
  const SequenceTable* table;
  std::span<const AttentionChunk> chunks;
  AttentionShape shape;
  int32_t layer;
};

const float* Floats(const ggml_tensor* tensor) { return static_cast<const float*>(tensor->data); }

void WriteKvOp(ggml_tensor* out, int ith, int nth, void* user) {
  const auto& call = *static_cast<const AttentionCall*>(user);
  WriteKv(*call.pool, *call.table, call.chunks, call.layer, Floats(out->src[0]), Floats(out->src[1]), ith,
          nth);
}

void AttentionOp(ggml_tensor* out, int ith, int nth, void* user) {
  const auto& call = *static_cast<const AttentionCall*>(user);
  PagedAttention(*call.pool, *call.table, call.chunks, call.shape, call.layer, Floats(out->src[0]),
                 static_cast<float*>(out->data), ith, nth);
}

// Builds one step's graph.
class StepGraph {
 public:
  StepGraph(const ModelConfig& config, const Weights& weights, const DecoderInput& input)
      : config_(config.text), weights_(weights), graph_(64 + 40 * static_cast<size_t>(config.text.layers)) {
    const auto rows = static_cast<int64_t>(input.positions.size());
    embeddings_ = ggml_new_tensor_2d(context(), GGML_TYPE_F32, config_.hidden, rows);
    positions_ = ggml_new_tensor_1d(context(), GGML_TYPE_I32, rows);
    ggml_set_input(embeddings_);
    ggml_set_input(positions_);
    if (!input.sampled_rows.empty()) {
      sampled_ =
          ggml_new_tensor_1d(context(), GGML_TYPE_I32, static_cast<int64_t>(input.sampled_rows.size()));
      ggml_set_input(sampled_);
    }
  }

  void Build(std::vector<AttentionCall>& calls) {
    ggml_tensor* x = embeddings_;
    for (size_t layer = 0; layer < weights_.text.size(); ++layer) {
      x = Layer(weights_.text[layer], calls[layer], x, layer + 1 == weights_.text.size());
    }
    if (!sampled_) return;
    x = ApplyRmsNorm(context(), weights_.final_norm, config_.rms_norm_eps, x);
    logits_ = ggml_mul_mat(context(), weights_.head, x);
    ggml_set_output(logits_);
    ggml_build_forward_expand(graph_.nodes, logits_);
  }

  void Fill(const DecoderInput& input) const {
    const size_t rows = input.positions.size();
    for (size_t row = 0; row < rows; ++row) {
      input.embed(static_cast<int32_t>(row), static_cast<float*>(embeddings_->data) + row * config_.hidden);
    }
    ggml_backend_tensor_set(positions_, input.positions.data(), 0, input.positions.size_bytes());
    if (sampled_)
      ggml_backend_tensor_set(sampled_, input.sampled_rows.data(), 0, input.sampled_rows.size_bytes());
  }

  const Graph& graph() const { return graph_; }
  const ggml_tensor* logits() const { return logits_; }

 private:
  ggml_context* context() const { return graph_.context.get(); }

  ggml_tensor* Rotate(ggml_tensor* x, int64_t heads) {
    x = ggml_reshape_3d(context(), x, config_.head_dim, heads, x->ne[1]);
    return ggml_rope_ext(context(), x, positions_, nullptr, config_.head_dim, GGML_ROPE_TYPE_NEOX, 0,
                         config_.rope_theta, 1.0f, 0.0f, 1.0f, 0.0f, 0.0f);
  }

  ggml_tensor* Layer(const TextLayer& layer, AttentionCall& call, ggml_tensor* x, bool last) {
    ggml_tensor* normed = ApplyRmsNorm(context(), layer.input_norm, config_.rms_norm_eps, x);
    ggml_tensor* q = Rotate(Apply(context(), layer.q, normed), config_.heads);
    ggml_tensor* kv[] = {Rotate(Apply(context(), layer.k, normed), config_.kv_heads),
                         Apply(context(), layer.v, normed)};
    // The write has no result to speak of; as an argument of the attention it puts ggml's barrier between.
    ggml_tensor* written =
        ggml_custom_4d(context(), GGML_TYPE_F32, 1, 1, 1, 1, kv, 2, WriteKvOp, GGML_N_TASKS_MAX, &call);
    ggml_build_forward_expand(graph_.nodes, written);
    // In the last layer all that is wanted beyond keys and values is the sampled rows.
    if (last && !sampled_) return x;
    ggml_tensor* arguments[] = {q, written};
    ggml_tensor* attended =
        ggml_custom_4d(context(), GGML_TYPE_F32, int64_t{config_.heads} * config_.head_dim, x->ne[1], 1, 1,
                       arguments, 2, AttentionOp, GGML_N_TASKS_MAX, &call);
    if (last) {
      attended = ggml_get_rows(context(), attended, sampled_);
      x = ggml_get_rows(context(), x, sampled_);
    }
    x = ggml_add(context(), x, Apply(context(), layer.o, attended));
    normed = ApplyRmsNorm(context(), layer.post_norm, config_.rms_norm_eps, x);
    ggml_tensor* gated = ggml_swiglu_split(context(), Apply(context(), layer.gate, normed),
                                           Apply(context(), layer.up, normed));
    return ggml_add(context(), x, Apply(context(), layer.down, gated));
  }

  const TextConfig& config_;
  const Weights& weights_;
  Graph graph_;
  ggml_tensor* embeddings_ = nullptr;
  ggml_tensor* positions_ = nullptr;
  ggml_tensor* sampled_ = nullptr;
  ggml_tensor* logits_ = nullptr;
};

}  // namespace

Decoder::Decoder(const ModelConfig& config, const Weights& weights) : config_(config), weights_(weights) {}

std::vector<float> Decoder::Forward(const DecoderInput& input, const KvPool& pool, const SequenceTable& table,
                                    CpuBackend& backend) const {
  const TextConfig& text = config_.text;
  const AttentionShape shape{text.heads, 1.0f / std::sqrt(static_cast<float>(text.head_dim))};
  std::vector<AttentionCall> calls;
  for (int32_t layer = 0; layer < text.layers; ++layer)
    calls.push_back({&pool, &table, input.chunks, shape, layer});
  StepGraph step(config_, weights_, input);
  step.Build(calls);
  const int64_t macs_per_row = ggml_nelements(weights_.text[0].gate.weight) * 4 * text.layers;
  const auto rows = static_cast<int64_t>(input.positions.size());
  backend.Compute(step.graph(), rows * macs_per_row, [&] { step.Fill(input); });
  if (!step.logits()) return {};
  std::vector<float> logits(ggml_nelements(step.logits()));
  ggml_backend_tensor_get(step.logits(), logits.data(), 0, logits.size() * sizeof(float));
  return logits;
}

}  // namespace kvcapsule
