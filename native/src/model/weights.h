// A model folder's weights as ggml tensors, converted at load.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "backend/cpu_backend.h"
#include "backend/packed_matrix.h"
#include "kvcapsule/model_config.h"
#include "kvcapsule/weight_type.h"

namespace kvcapsule {

// An RMS norm has no bias.
struct LayerNorm {
  ggml_tensor* weight = nullptr;
  ggml_tensor* bias = nullptr;
};

// y = W x + b, its outputs in whole panels; what fills a panel up has weights and bias 0.
struct PackedLinear {
  PackedMatrix matrix;
  std::vector<float> bias;  // [panels * 32]; empty when the layer has none
};

struct VisionLayer {
  LayerNorm norm1, norm2;
  PackedLinear qkv;  // queries, keys and values one behind the other
  PackedLinear out, fc1, fc2;
};

// Panels that a head's rows take.
inline int32_t HeadPanels(const TextConfig& config) {
  return (config.head_dim + PackedMatrix::kPanel - 1) / PackedMatrix::kPanel;
}

struct TextLayer {
  LayerNorm input_norm, post_norm;
  PackedLinear qkv;  // query heads, then key heads, then value heads, each in HeadPanels panels
  PackedLinear out;
  PackedLinear gate_up;  // panels of gate and up in turn
  PackedLinear down;
};

struct Weights {
  PackedLinear patch_embedding;  // of [3][patch][patch] pixels
  ggml_tensor* position_embedding = nullptr;
  std::vector<VisionLayer> vision;
  LayerNorm vision_norm;
  PackedLinear connector;
  std::vector<TextLayer> text;
  LayerNorm final_norm;
  PackedLinear head;
  PackedLinear token_embedding;  // without a matrix where it is the head's, tied

  GgmlContext context;
  GgmlBuffer buffer;
  LargeBuffer packed;
  int64_t bytes = 0;

  // Its outputs are the tokens' rows.
  const PackedMatrix& embedding() const {
    return token_embedding.matrix.panels() > 0 ? token_embedding.matrix : head.matrix;
  }
};

// What a model's matrices are kept in. Quantizing pays where a step is bound by reading weights, with few rows:
// tower and connector, which always have many, stay bf16. Four bits are too few for the head and the embedding,
// which is often the same matrix: every logit and every row of the text would carry their error.
struct MatrixTypes {
  explicit MatrixTypes(WeightType type)
      : tower(IsQuantized(type) ? WeightType::kBF16 : type),
        decoder(type),
        head(type == WeightType::kQ4_1 ? WeightType::kQ8_0 : type) {}
  const WeightType tower, decoder, head;
};

// What they will take in memory; reads nothing.
int64_t WeightBytes(const ModelConfig& config, WeightType type);

// Matrices in the types for `type`, norms, biases and position embeddings in F32. Reads model.safetensors or the shards
// that model.safetensors.index.json names. Throws Error(kModelInvalid) naming file and tensor.
Weights LoadWeights(const std::string& model_dir, const ModelConfig& config, WeightType type,
                    CpuBackend& backend);

}  // namespace kvcapsule
