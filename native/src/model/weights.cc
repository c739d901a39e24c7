#include "model/weights.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "common/safetensors.h"
#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

[[noreturn]] void Fail(const std::string& message) { throw Error(ErrorCode::kModelInvalid, message); }

// All tensors of a folder by name.
class Folder {
 public:
  explicit Folder(const std::string& model_dir) : dir_(model_dir) {
    for (const std::string& name : FileNames()) {
      files_.emplace_back(dir_ + "/" + name, ErrorCode::kModelInvalid);
      for (const auto& [tensor_name, tensor] : files_.back().tensors()) {
        if (!tensors_.emplace(tensor_name, &tensor).second) {
          Fail(dir_ + "/" + name + ": tensor " + tensor_name + " is in two files");
        }
      }
    }
  }

  const TensorView& at(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) Fail(dir_ + ": tensor " + name + " is missing");
    return *found->second;
  }

  const std::string& dir() const { return dir_; }

 private:
  std::set<std::string> FileNames() const {
    if (std::filesystem::exists(dir_ + "/model.safetensors")) return {"model.safetensors"};
    const std::string path = dir_ + "/model.safetensors.index.json";
    std::ifstream file(path);
    if (!file) Fail(dir_ + ": holds neither model.safetensors nor model.safetensors.index.json");
    const auto index = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
      Fail(path + ": weight_map is missing");
    }
    std::set<std::string> names;
    for (const auto& [tensor, name] : index["weight_map"].items()) {
      if (!name.is_string()) Fail(path + ": weight_map." + tensor + " is not a file name");
      // a name with a slash would read outside the folder
      if (name.get<std::string>().find('/') != std::string::npos)
        Fail(path + ": weight_map." + tensor + " has a slash");
      names.insert(name.get<std::string>());
    }
    return names;
  }

  std::string dir_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, const TensorView*> tensors_;
};

ggml_type GgmlType(Dtype dtype) {
  return dtype == Dtype::kF32 ? GGML_TYPE_F32 : dtype == Dtype::kF16 ? GGML_TYPE_F16 : GGML_TYPE_BF16;
}

// Turns source rows into the target's type by way of F32; bounded scratch, whatever the tensor's size.
void Convert(const TensorView& source, ggml_tensor* target, const std::string& name) {
  constexpr int64_t kChunk = 1 << 16;
  const int64_t count = ggml_nelements(target);
  const bool f32 = source.dtype == "F32", f16 = source.dtype == "F16", bf16 = source.dtype == "BF16";
  if (!f32 && !f16 && !bf16) Fail("tensor " + name + ": dtype " + source.dtype + " is not supported");
  std::vector<float> scratch(std::min(count, kChunk));
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t n = std::min(kChunk, count - begin);
    const uint8_t* in = source.data + begin * (f32 ? 4 : 2);
    uint8_t* out = static_cast<uint8_t*>(target->data) + begin * ggml_type_size(target->type);
    if (f32) std::memcpy(scratch.data(), in, n * 4);
    if (f16) ggml_fp16_to_fp32_row(reinterpret_cast<const ggml_fp16_t*>(in), scratch.data(), n);
    if (bf16) ggml_bf16_to_fp32_row(reinterpret_cast<const ggml_bf16_t*>(in), scratch.data(), n);
    if (target->type == GGML_TYPE_F32) std::memcpy(out, scratch.data(), n * 4);
    if (target->type == GGML_TYPE_F16)
      ggml_fp32_to_fp16_row(scratch.data(), reinterpret_cast<ggml_fp16_t*>(out), n);
    if (target->type == GGML_TYPE_BF16)
      ggml_fp32_to_bf16_row(scratch.data(), reinterpret_cast<ggml_bf16_t*>(out), n);
  }
}

// First all tensors get a shape (checked against the file), then memory, then contents.
class Loader {
 public:
  Loader(const Folder& folder, ggml_context* context, Dtype dtype)
      : folder_(folder), context_(context), matrix_type_(GgmlType(dtype)) {}

  ggml_tensor* Matrix(const std::string& name, int64_t in, int64_t out) {
    return Declare(name, matrix_type_, in, out);
  }
  ggml_tensor* Table(const std::string& name, int64_t in, int64_t out) {
    return Declare(name, GGML_TYPE_F32, in, out);
  }
  ggml_tensor* Vector(const std::string& name, int64_t size) { return Declare(name, GGML_TYPE_F32, size, 1); }

  Linear Layer(const std::string& name, int64_t in, int64_t out, bool bias) {
    return {Matrix(name + ".weight", in, out), bias ? Vector(name + ".bias", out) : nullptr};
  }
  LayerNorm Norm(const std::string& name, int64_t size) {
    return {Vector(name + ".weight", size), Vector(name + ".bias", size)};
  }

  void Fill() const {
    for (const auto& [name, tensor] : declared_)
      Convert(folder_.at(name), tensor, folder_.dir() + ": " + name);
  }

 private:
  // `out` rows of `in`: trailing dimensions of the file's tensor (a convolution's) count as one.
  ggml_tensor* Declare(const std::string& name, ggml_type type, int64_t in, int64_t out) {
    const TensorView& source = folder_.at(name);
    int64_t rows = out == 1 ? 1 : source.shape.empty() ? 1 : source.shape[0];
    int64_t count = 1;
    for (const int64_t size : source.shape) count *= size;
    if (rows != out || count != in * out) {
      Fail(folder_.dir() + ": tensor " + name + " does not have the shape that config.json asks for");
    }
    ggml_tensor* tensor =
        out == 1 ? ggml_new_tensor_1d(context_, type, in) : ggml_new_tensor_2d(context_, type, in, out);
    declared_.emplace_back(name, tensor);
    return tensor;
  }

  const Folder& folder_;
  ggml_context* context_;
  ggml_type matrix_type_;
  std::vector<std::pair<std::string, ggml_tensor*>> declared_;
};

void DeclareVision(Loader& loader, const ModelConfig& config, Weights& weights) {
  const VisionConfig& c = config.vision;
  const std::string root = "model.vision_model.";
  const int64_t side = c.image_size / c.patch_size;
  weights.patch_embedding =
      loader.Layer(root + "embeddings.patch_embedding", 3LL * c.patch_size * c.patch_size, c.hidden, true);
  weights.position_embedding =
      loader.Table(root + "embeddings.position_embedding.weight", c.hidden, side * side);
  for (int32_t i = 0; i < c.layers; ++i) {
    const std::string layer = root + "encoder.layers." + std::to_string(i) + ".";
    VisionLayer w;
    w.norm1 = loader.Norm(layer + "layer_norm1", c.hidden);
    w.norm2 = loader.Norm(layer + "layer_norm2", c.hidden);
    w.q = loader.Layer(layer + "self_attn.q_proj", c.hidden, c.hidden, true);
    w.k = loader.Layer(layer + "self_attn.k_proj", c.hidden, c.hidden, true);
    w.v = loader.Layer(layer + "self_attn.v_proj", c.hidden, c.hidden, true);
    w.out = loader.Layer(layer + "self_attn.out_proj", c.hidden, c.hidden, true);
    w.fc1 = loader.Layer(layer + "mlp.fc1", c.hidden, c.intermediate, true);
    w.fc2 = loader.Layer(layer + "mlp.fc2", c.intermediate, c.hidden, true);
    weights.vision.push_back(w);
  }
  weights.vision_norm = loader.Norm(root + "post_layernorm", c.hidden);
  weights.connector =
      loader.Layer("model.connector.modality_projection.proj",
                   int64_t{c.hidden} * config.scale_factor * config.scale_factor, config.text.hidden, false);
}

void DeclareText(Loader& loader, const ModelConfig& config, Weights& weights) {
  const TextConfig& c = config.text;
  const std::string root = "model.text_model.";
  const int64_t q = int64_t{c.heads} * c.head_dim, kv = int64_t{c.kv_heads} * c.head_dim;
  weights.token_embedding = loader.Matrix(root + "embed_tokens.weight", c.hidden, c.vocab);
  for (int32_t i = 0; i < c.layers; ++i) {
    const std::string layer = root + "layers." + std::to_string(i) + ".";
    TextLayer w;
    w.input_norm = loader.Vector(layer + "input_layernorm.weight", c.hidden);
    w.post_norm = loader.Vector(layer + "post_attention_layernorm.weight", c.hidden);
    w.q = loader.Layer(layer + "self_attn.q_proj", c.hidden, q, c.attention_bias);
    w.k = loader.Layer(layer + "self_attn.k_proj", c.hidden, kv, c.attention_bias);
    w.v = loader.Layer(layer + "self_attn.v_proj", c.hidden, kv, c.attention_bias);
    w.o = loader.Layer(layer + "self_attn.o_proj", q, c.hidden, c.attention_bias);
    w.gate = loader.Layer(layer + "mlp.gate_proj", c.hidden, c.intermediate, c.mlp_bias);
    w.up = loader.Layer(layer + "mlp.up_proj", c.hidden, c.intermediate, c.mlp_bias);
    w.down = loader.Layer(layer + "mlp.down_proj", c.intermediate, c.hidden, c.mlp_bias);
    weights.text.push_back(w);
  }
  weights.final_norm = loader.Vector(root + "norm.weight", c.hidden);
  weights.head = config.tied ? weights.token_embedding : loader.Matrix("lm_head.weight", c.hidden, c.vocab);
}

}  // namespace

Weights LoadWeights(const std::string& model_dir, const ModelConfig& config, Dtype dtype,
                    const CpuBackend& backend) {
  const Folder folder(model_dir);
  const size_t tensors =
      16 + 16 * static_cast<size_t>(config.vision.layers) + 16 * static_cast<size_t>(config.text.layers);
  Weights weights;
  weights.context.reset(ggml_init({tensors * ggml_tensor_overhead(), nullptr, /*no_alloc=*/true}));
  if (!weights.context) Fail(model_dir + ": not enough memory for the list of weights");
  Loader loader(folder, weights.context.get(), dtype);
  DeclareVision(loader, config, weights);
  DeclareText(loader, config, weights);
  weights.buffer = backend.Allocate(weights.context.get());
  weights.bytes = static_cast<int64_t>(ggml_backend_buffer_get_size(weights.buffer.get()));
  loader.Fill();
  return weights;
}

}  // namespace kvcapsule
