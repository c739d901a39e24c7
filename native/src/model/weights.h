// A model folder's weights as ggml tensors, converted at load.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "backend/cpu_backend.h"
#include "backend/packed_matrix.h"
#include "kvcapsule/kv_geometry.h"
#include "model/model_config.h"

namespace kvcapsule {

// y = W x + b. ggml shape [in, out]; bias null when the layer has none.
struct Linear {
  ggml_tensor* weight = nullptr;
  ggml_tensor* bias = nullptr;
};

struct LayerNorm {
  ggml_tensor* weight = nullptr;
  ggml_tensor* bias = nullptr;
};

struct VisionLayer {
  LayerNorm norm1, norm2;
  Linear q, k, v, out, fc1, fc2;
};

// The same with its outputs in whole panels; what fills a panel up has weights and bias 0.
struct PackedLinear {
  PackedMatrix matrix;
  std::vector<float> bias;  // [panels * 32]; empty when the layer has none
};

// Panels that a head's rows take.
inline int32_t HeadPanels(const TextConfig& config) {
  return (config.head_dim + PackedMatrix::kPanel - 1) / PackedMatrix::kPanel;
}

struct TextLayer {
  ggml_tensor* input_norm = nullptr;
  ggml_tensor* post_norm = nullptr;
  PackedLinear qkv;  // query heads, then key heads, then value heads, each in HeadPanels panels
  PackedLinear out;
  PackedLinear gate_up;  // panels of gate and up in turn
  PackedLinear down;
};

struct Weights {
  Linear patch_embedding;  // [3 * patch * patch, hidden]
  ggml_tensor* position_embedding = nullptr;
  std::vector<VisionLayer> vision;
  LayerNorm vision_norm;
  Linear connector;
  ggml_tensor* token_embedding = nullptr;
  std::vector<TextLayer> text;
  ggml_tensor* final_norm = nullptr;
  PackedLinear head;  // the token embedding again when tied

  GgmlContext context;
  GgmlBuffer buffer;
  LargeBuffer packed;
  int64_t bytes = 0;
};

// Matrices in `dtype`, norms, biases and position embeddings in F32. Reads model.safetensors or the shards
// that model.safetensors.index.json names. Throws Error(kModelInvalid) naming file and tensor.
Weights LoadWeights(const std::string& model_dir, const ModelConfig& config, Dtype dtype,
                    const CpuBackend& backend);

}  // namespace kvcapsule
