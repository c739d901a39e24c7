#include "folder_config.h"

#include <fstream>
#include <nlohmann/json.hpp>

namespace kvcapsule::testing {
namespace {

using nlohmann::json;

VisionConfig ReadVision(const json& fields) {
  VisionConfig vision;
  vision.hidden = fields.at("hidden_size");
  vision.intermediate = fields.at("intermediate_size");
  vision.layers = fields.at("num_hidden_layers");
  vision.heads = fields.at("num_attention_heads");
  vision.image_size = fields.at("image_size");
  vision.patch_size = fields.at("patch_size");
  vision.layer_norm_eps = fields.value("layer_norm_eps", 1e-6f);
  return vision;
}

TextConfig ReadText(const json& fields) {
  TextConfig text;
  text.vocab = fields.at("vocab_size");
  text.hidden = fields.at("hidden_size");
  text.intermediate = fields.at("intermediate_size");
  text.layers = fields.at("num_hidden_layers");
  text.heads = fields.at("num_attention_heads");
  text.kv_heads = fields.at("num_key_value_heads");
  text.head_dim = fields.value("head_dim", text.hidden / text.heads);
  text.context_tokens = fields.at("max_position_embeddings");
  text.rms_norm_eps = fields.value("rms_norm_eps", 1e-6f);
  text.rope_theta =
      fields.contains("rope_theta") ? fields.at("rope_theta") : fields.at("rope_parameters").at("rope_theta");
  text.attention_bias = fields.value("attention_bias", false);
  text.mlp_bias = fields.value("mlp_bias", false);
  return text;
}

ImageConfig ReadImage(const json& fields) {
  ImageConfig image;
  image.longest_edge = fields.at("size").at("longest_edge");
  image.tile = fields.at("max_image_size").at("longest_edge");
  image.split = fields.at("do_image_splitting");
  image.resample = static_cast<Resample>(fields.at("resample").get<int32_t>());
  image.rescale = fields.at("rescale_factor");
  fields.at("image_mean").get_to(image.mean);
  fields.at("image_std").get_to(image.std);
  return image;
}

}  // namespace

ModelConfig ReadFolderConfig(const std::string& model_dir) {
  const json config = json::parse(std::ifstream(model_dir + "/config.json"));
  ModelConfig model;
  model.family = "idefics3";
  model.vision = ReadVision(config.at("vision_config"));
  model.text = ReadText(config.at("text_config"));
  model.image = ReadImage(json::parse(std::ifstream(model_dir + "/preprocessor_config.json")));
  model.image_token_id = config.at("image_token_id");
  model.scale_factor = config.at("scale_factor");
  model.tied = config.at("tie_word_embeddings");
  return model;
}

}  // namespace kvcapsule::testing
