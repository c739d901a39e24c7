#include "kvcapsule/model_config.h"

#include <string>

#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

constexpr int32_t kMaxSize = 1 << 22;  // no size of a real model comes near it, and products stay in 64 bits
constexpr int32_t kMaxTile = 4096;  // the longest side that a resized picture has

void Require(bool holds, const std::string& problem) {
  if (!holds) throw Error(ErrorCode::kModelInvalid, "model: " + problem);
}

void RequireSize(int32_t size, const char* name) {
  Require(size >= 1 && size <= kMaxSize, std::string(name) + " is outside 1 to 4194304");
}

void CheckVision(const VisionConfig& vision) {
  RequireSize(vision.hidden, "vision.hidden");
  RequireSize(vision.intermediate, "vision.intermediate");
  RequireSize(vision.layers, "vision.layers");
  RequireSize(vision.heads, "vision.heads");
  RequireSize(vision.patch_size, "vision.patch");
  RequireSize(vision.image_size, "vision.image");
  Require(vision.hidden % vision.heads == 0, "vision.hidden is not a multiple of vision.heads");
  Require(vision.image_size >= vision.patch_size, "vision.image is smaller than vision.patch");
  Require(vision.layer_norm_eps > 0, "vision.normEpsilon is not positive");
}

void CheckText(const TextConfig& text) {
  RequireSize(text.vocab, "text.vocab");
  RequireSize(text.hidden, "text.hidden");
  RequireSize(text.intermediate, "text.intermediate");
  RequireSize(text.layers, "text.layers");
  RequireSize(text.heads, "text.heads");
  RequireSize(text.kv_heads, "text.kvHeads");
  RequireSize(text.head_dim, "text.headDim");
  RequireSize(text.context_tokens, "text.contextTokens");
  Require(text.heads % text.kv_heads == 0, "text.heads is not a multiple of text.kvHeads");
  Require(text.head_dim % 2 == 0, "text.headDim is odd");
  Require(text.rms_norm_eps > 0, "text.normEpsilon is not positive");
  Require(text.rope_theta > 0, "text.ropeTheta is not positive");
}

void CheckImage(const ImageConfig& image) {
  RequireSize(image.longest_edge, "pictures.longestEdge");
  Require(image.tile >= 1 && image.tile <= kMaxTile, "pictures.tile is outside 1 to 4096");
  for (const float value : image.std) Require(value > 0, "pictures.std holds a number that is not positive");
}

}  // namespace

void CheckModelConfig(const ModelConfig& config) {
  Require(config.family == "idefics3", "family " + config.family + " is not one that is computed here");
  CheckVision(config.vision);
  CheckText(config.text);
  CheckImage(config.image);
  RequireSize(config.scale_factor, "scaleFactor");
  Require(config.image_token_id >= 0 && config.image_token_id < config.text.vocab,
          "imageTokenId is outside the vocabulary");
  Require(config.patches_per_side() >= 1, "pictures.tile is smaller than vision.patch");
  Require(config.patches_per_side() % config.scale_factor == 0,
          "scaleFactor does not divide the patches of a tile's edge");
}

}  // namespace kvcapsule
