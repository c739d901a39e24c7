// A model folder's weights as ggml tensors, converted at load.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "backend/cpu_backend.h"
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

struct TextLayer {
  ggml_tensor* input_norm = nullptr;
  ggml_tensor* post_norm = nullptr;
  Linear q, k, v, o, gate, up, down;
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
  ggml_tensor* head = nullptr;  // the token embedding itself when tied

  GgmlContext context;
  GgmlBuffer buffer;
  int64_t bytes = 0;
};

// Matrices in `dtype`, norms, biases and position embeddings in F32. Reads model.safetensors or the shards
// that model.safetensors.index.json names. Throws Error(kModelInvalid) naming file and tensor.
Weights LoadWeights(const std::string& model_dir, const ModelConfig& config, Dtype dtype,
                    const CpuBackend& backend);

}  // namespace kvcapsule
