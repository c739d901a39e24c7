#include "model/model_config.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

using nlohmann::json;

constexpr int32_t kMaxSize = 1 << 22;  // no field of a real model comes near it, and products stay in 64 bits

// Fields of one JSON object; messages name file and path.
class Fields {
 public:
  Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object_.is_object()) Fail("", "is not an object");
  }

  bool Has(const char* key) const { return object_.contains(key) && !object_.at(key).is_null(); }

  Fields Child(const char* key) const {
    static const json kEmpty = json::object();
    return Fields(Has(key) ? object_.at(key) : kEmpty, where_ + "." + key);
  }

  // An integer in [1, 2^22]; the fallback when the field is missing.
  int32_t Size(const char* key, int32_t fallback) const {
    if (!Has(key)) return fallback;
    const json& value = object_.at(key);
    if (!value.is_number_integer() || value.get<double>() < 1 || value.get<double>() > kMaxSize) {
      Fail(key, "is not a whole number between 1 and 4194304");
    }
    return value.get<int32_t>();
  }

  int32_t Index(const char* key, int32_t fallback) const {
    if (!Has(key)) return fallback;
    const json& value = object_.at(key);
    if (!value.is_number_integer() || value.get<double>() < 0 || value.get<double>() > kMaxSize) {
      Fail(key, "is not a whole number between 0 and 4194304");
    }
    return value.get<int32_t>();
  }

  double Positive(const char* key, double fallback) const {
    if (!Has(key)) return fallback;
    const json& value = object_.at(key);
    if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() <= 0) {
      Fail(key, "is not a positive number");
    }
    return value.get<double>();
  }

  bool Flag(const char* key, bool fallback) const {
    if (!Has(key)) return fallback;
    if (!object_.at(key).is_boolean()) Fail(key, "is neither true nor false");
    return object_.at(key).get<bool>();
  }

  std::string Text(const char* key, const char* fallback) const {
    if (!Has(key)) return fallback;
    if (!object_.at(key).is_string()) Fail(key, "is not a string");
    return object_.at(key).get<std::string>();
  }

  std::array<float, 3> Triple(const char* key, std::array<float, 3> fallback) const {
    if (!Has(key)) return fallback;
    const json& value = object_.at(key);
    if (!value.is_array() || value.size() != 3) Fail(key, "is not a list of three numbers");
    for (size_t i = 0; i < 3; ++i) {
      if (!value[i].is_number() || !std::isfinite(value[i].get<double>()))
        Fail(key, "is not a list of three numbers");
      fallback[i] = value[i].get<float>();
    }
    return fallback;
  }

  // The field must be one of the values that this engine computes.
  void Expect(const char* key, std::initializer_list<const char*> allowed) const {
    if (!Has(key)) return;
    const std::string value = Text(key, "");
    for (const char* one : allowed) {
      if (value == one) return;
    }
    Fail(key, "is \"" + value + "\", which is not supported");
  }

  [[noreturn]] void Fail(const std::string& key, const std::string& problem) const {
    throw Error(ErrorCode::kModelInvalid, where_ + (key.empty() ? "" : "." + key) + ": " + problem);
  }

 private:
  const json& object_;
  std::string where_;
};

json ReadJson(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::kModelInvalid, path + ": cannot be read");
  json value = json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) throw Error(ErrorCode::kModelInvalid, path + ": is not a JSON object");
  return value;
}

VisionConfig ReadVision(const Fields& fields) {
  VisionConfig config;
  config.hidden = fields.Size("hidden_size", config.hidden);
  config.intermediate = fields.Size("intermediate_size", config.intermediate);
  config.layers = fields.Size("num_hidden_layers", config.layers);
  config.heads = fields.Size("num_attention_heads", config.heads);
  config.image_size = fields.Size("image_size", config.image_size);
  config.patch_size = fields.Size("patch_size", config.patch_size);
  config.layer_norm_eps = static_cast<float>(fields.Positive("layer_norm_eps", config.layer_norm_eps));
  fields.Expect("hidden_act", {"gelu_pytorch_tanh"});
  if (fields.Size("num_channels", 3) != 3) fields.Fail("num_channels", "is not 3");
  if (config.hidden % config.heads != 0)
    fields.Fail("hidden_size", "is not a multiple of num_attention_heads");
  if (config.image_size < config.patch_size) fields.Fail("image_size", "is smaller than patch_size");
  return config;
}

// Newer folders say rope_parameters, older ones rope_theta and rope_scaling.
float ReadRopeTheta(const Fields& fields, float fallback) {
  const Fields scaling = fields.Child("rope_scaling");
  scaling.Expect("rope_type", {"default"});
  scaling.Expect("type", {"default"});
  const Fields parameters = fields.Child("rope_parameters");
  parameters.Expect("rope_type", {"default"});
  if (parameters.Positive("partial_rotary_factor", 1) != 1) {
    parameters.Fail("partial_rotary_factor", "is not 1");
  }
  return static_cast<float>(parameters.Positive("rope_theta", fields.Positive("rope_theta", fallback)));
}

TextConfig ReadText(const Fields& fields) {
  TextConfig config;
  fields.Expect("model_type", {"llama", "VLlama3"});
  fields.Expect("hidden_act", {"silu"});
  config.vocab = fields.Size("vocab_size", config.vocab);
  config.hidden = fields.Size("hidden_size", config.hidden);
  config.intermediate = fields.Size("intermediate_size", config.intermediate);
  config.layers = fields.Size("num_hidden_layers", config.layers);
  config.heads = fields.Size("num_attention_heads", config.heads);
  config.kv_heads = fields.Size("num_key_value_heads", config.heads);
  config.head_dim = fields.Size("head_dim", std::max(1, config.hidden / config.heads));
  config.context_tokens = fields.Size("max_position_embeddings", config.context_tokens);
  config.rms_norm_eps = static_cast<float>(fields.Positive("rms_norm_eps", config.rms_norm_eps));
  config.rope_theta = ReadRopeTheta(fields, config.rope_theta);
  config.attention_bias = fields.Flag("attention_bias", config.attention_bias);
  config.mlp_bias = fields.Flag("mlp_bias", config.mlp_bias);
  if (config.heads % config.kv_heads != 0) {
    fields.Fail("num_attention_heads", "is not a multiple of num_key_value_heads");
  }
  if (config.head_dim % 2 != 0) fields.Fail("head_dim", "is odd");
  return config;
}

ImageConfig ReadImage(const Fields& fields) {
  ImageConfig config;
  config.longest_edge = fields.Child("size").Size("longest_edge", config.longest_edge);
  if (!fields.Flag("do_resize", true)) config.longest_edge = 0;
  config.tile = fields.Child("max_image_size").Size("longest_edge", config.tile);
  config.split = fields.Flag("do_image_splitting", config.split);
  const int32_t resample = fields.Index("resample", static_cast<int32_t>(config.resample));
  if (resample < 1 || resample > 3)
    fields.Fail("resample", "is not 1 (Lanczos), 2 (bilinear) or 3 (bicubic)");
  config.resample = static_cast<Resample>(resample);
  config.rescale = fields.Flag("do_rescale", true) ? fields.Positive("rescale_factor", config.rescale) : 1.0;
  if (fields.Flag("do_normalize", true)) {
    config.mean = fields.Triple("image_mean", config.mean);
    config.std = fields.Triple("image_std", config.std);
  } else {
    config.mean = {0, 0, 0};
    config.std = {1, 1, 1};
  }
  for (const float value : config.std) {
    if (!(value > 0)) fields.Fail("image_std", "holds a number that is not positive");
  }
  return config;
}

}  // namespace

ModelConfig ReadModelConfig(const std::string& model_dir) {
  const std::string config_path = model_dir + "/config.json";
  const std::string image_path = model_dir + "/preprocessor_config.json";
  const json config_json = ReadJson(config_path), image_json = ReadJson(image_path);
  const Fields fields(config_json, config_path);
  if (!fields.Has("model_type")) fields.Fail("model_type", "is missing");
  fields.Expect("model_type", {"idefics3", "smolvlm"});
  ModelConfig config;
  config.vision = ReadVision(fields.Child("vision_config"));
  config.text = ReadText(fields.Child("text_config"));
  config.image = ReadImage(Fields(image_json, image_path));
  config.image_token_id = fields.Index("image_token_id", config.image_token_id);
  config.scale_factor = fields.Size("scale_factor", config.scale_factor);
  config.tied = fields.Flag("tie_word_embeddings", config.tied);
  if (config.image_token_id >= config.text.vocab) fields.Fail("image_token_id", "is outside the vocabulary");
  if (config.image.tile % config.vision.patch_size != 0 ||
      config.patches_per_side() % config.scale_factor != 0) {
    fields.Fail("scale_factor", "does not divide the patches of a tile's edge");
  }
  return config;
}

}  // namespace kvcapsule
