// A model in plain values. Whoever creates an engine has read and checked them: the engine reads weights, no settings.
#pragma once
#include <array>
#include <cstdint>
#include <string>

namespace kvcapsule {

struct VisionConfig {
  int32_t hidden = 0, intermediate = 0, layers = 0, heads = 0;
  int32_t image_size = 0, patch_size = 0;  // pixels; what the learned positions were made for
  float layer_norm_eps = 0;
};

struct TextConfig {
  int32_t vocab = 0, hidden = 0, intermediate = 0, layers = 0, heads = 0, kv_heads = 0;
  int32_t head_dim = 0, context_tokens = 0;
  float rms_norm_eps = 0, rope_theta = 0;
  bool attention_bias = false, mlp_bias = false;
};

enum class Resample : int32_t { kLanczos = 1, kBilinear = 2, kBicubic = 3 };  // Pillow's numbers

struct ImageConfig {
  int32_t longest_edge = 0;  // that the whole picture is scaled to
  int32_t tile = 0;          // edge of one tile
  bool split = true;
  Resample resample = Resample::kLanczos;
  double rescale = 1;
  std::array<float, 3> mean{}, std{1, 1, 1};
};

struct ModelConfig {
  std::string family;  // "idefics3"
  VisionConfig vision;
  TextConfig text;
  ImageConfig image;
  int32_t image_token_id = -1;
  int32_t scale_factor = 0;  // pixel shuffle
  bool tied = false;         // the head is the token embedding

  // Of a tile; pixels beyond the last whole patch are in none.
  int32_t patches_per_side() const { return image.tile / vision.patch_size; }
  int32_t tokens_per_tile() const {
    const int32_t side = patches_per_side() / scale_factor;
    return side * side;
  }
};

// What the engine relies on, so that no values make it compute outside its memory. Throws Error(kModelInvalid).
void CheckModelConfig(const ModelConfig& config);

}  // namespace kvcapsule
