// What config.json and preprocessor_config.json of an Idefics3 or SmolVLM folder say, with transformers'
// defaults for what they leave out.
#pragma once
#include <array>
#include <cstdint>
#include <string>

namespace kvcapsule {

struct VisionConfig {
  int32_t hidden = 1152, intermediate = 3072, layers = 12, heads = 16;
  int32_t image_size = 224, patch_size = 32;
  float layer_norm_eps = 1e-6f;
};

struct TextConfig {
  int32_t vocab = 32000, hidden = 4096, intermediate = 11008, layers = 32, heads = 32, kv_heads = 32;
  int32_t head_dim = 128, context_tokens = 2048;
  float rms_norm_eps = 1e-6f, rope_theta = 10000.0f;
  bool attention_bias = false, mlp_bias = false;
};

enum class Resample : int32_t { kLanczos = 1, kBilinear = 2, kBicubic = 3 };  // Pillow's numbers

struct ImageConfig {
  int32_t longest_edge = 4 * 364;  // of the whole picture; 0: not resized
  int32_t tile = 364;              // edge of one tile
  bool split = true;
  Resample resample = Resample::kLanczos;
  double rescale = 1.0 / 255;  // 1 when the folder turns rescaling off
  std::array<float, 3> mean{0.5f, 0.5f, 0.5f}, std{0.5f, 0.5f, 0.5f};
};

struct ModelConfig {
  VisionConfig vision;
  TextConfig text;
  ImageConfig image;
  int32_t image_token_id = 128257;
  int32_t scale_factor = 2;  // pixel shuffle
  bool tied = false;         // the head is the token embedding

  int32_t patches_per_side() const { return image.tile / vision.patch_size; }
  int32_t tokens_per_tile() const {
    const int32_t side = patches_per_side() / scale_factor;
    return side * side;
  }
};

// Throws Error(kModelInvalid) naming the file and the field.
ModelConfig ReadModelConfig(const std::string& model_dir);

}  // namespace kvcapsule
