#include "model/weights.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "common/half.h"
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

// count elements from `begin` on, widened.
void Widen(const TensorView& source, int64_t begin, int64_t count, const std::string& name, float* out) {
  if (source.dtype == "F32") {
    std::memcpy(out, source.data + begin * 4, count * 4);
  } else if (source.dtype == "F16") {
    ToFloat(Dtype::kF16, source.data + begin * 2, count, out);
  } else if (source.dtype == "BF16") {
    ToFloat(Dtype::kBF16, source.data + begin * 2, count, out);
  } else {
    Fail("tensor " + name + ": dtype " + source.dtype + " is not supported");
  }
}

// First all tensors get a shape (checked against the file), then memory, then contents.
class Loader {
 public:
  Loader(const Folder& folder, ggml_context* context) : folder_(folder), context_(context) {}

  ggml_tensor* Table(const std::string& name, int64_t in, int64_t out) {
    Check(name, in, out);
    ggml_tensor* tensor = out == 1 ? ggml_new_tensor_1d(context_, GGML_TYPE_F32, in)
                                   : ggml_new_tensor_2d(context_, GGML_TYPE_F32, in, out);
    declared_.push_back({name, tensor});
    return tensor;
  }
  ggml_tensor* Vector(const std::string& name, int64_t size) { return Table(name, size, 1); }
  LayerNorm Norm(const std::string& name, int64_t size) {
    return {Vector(name + ".weight", size), Vector(name + ".bias", size)};
  }

  // One file matrix in a packed one: its `rows` rows go to outputs first, first + 1, ...; every `run` rows,
  // `gap` outputs are left out.
  struct Part {
    std::string name;
    int64_t rows = 0, first = 0, run = 0, gap = 0;
    int64_t Output(int64_t row) const { return first + row + row / run * gap; }
  };
  // target stays where it is until Fill is over.
  void Pack(PackedLinear& target, WeightType type, int64_t in, int64_t outputs, bool bias, std::vector<Part> parts) {
    for (const Part& part : parts) {
      Check(part.name + ".weight", in, part.rows);
      if (bias) Check(part.name + ".bias", part.rows, 1);
    }
    packed_.push_back({&target, type, in, outputs, bias, std::move(parts)});
  }

  // Memory for the packed matrices.
  LargeBuffer Place() {
    int64_t bytes = 0;
    for (const Packed& packed : packed_) bytes += PackedMatrix::Bytes(packed.outputs, packed.in, packed.type);
    LargeBuffer buffer(bytes);
    uint8_t* at = buffer.data();
    for (const Packed& packed : packed_) {
      packed.target->matrix = PackedMatrix(packed.outputs, packed.in, packed.type, at);
      at += packed.target->matrix.bytes();
    }
    return buffer;
  }

  void Fill(CpuBackend& backend) const {
    for (const auto& [name, tensor] : declared_)
      Widen(folder_.at(name), 0, ggml_nelements(tensor), Path(name), static_cast<float*>(tensor->data));
    std::vector<Rows> tasks;
    for (const Packed& packed : packed_) {
      if (packed.bias)
        packed.target->bias.resize(int64_t{packed.target->matrix.panels()} * PackedMatrix::kPanel);
      for (const Part& part : packed.parts) {
        if (packed.bias) FillBias(packed, part);
        for (int64_t row = 0; row < part.rows; row += tasks.back().count)
          tasks.push_back({&packed, &part, row, InOnePanel(part, row)});
      }
    }
    // a thread that takes several in a row uses its room again, and lets it go at the end
    constexpr size_t kTogether = 16;
    backend.Run(static_cast<int32_t>((tasks.size() + kTogether - 1) / kTogether), [&](int32_t group) {
      std::vector<float> widened;
      const size_t first = group * kTogether, end = std::min(tasks.size(), first + kTogether);
      for (size_t task = first; task < end; ++task) FillRows(tasks[task], widened);
    });
  }

 private:
  struct Declared {
    std::string name;
    ggml_tensor* tensor;
  };
  struct Packed {
    PackedLinear* target;
    WeightType type;
    int64_t in, outputs;
    bool bias;
    std::vector<Part> parts;
  };
  // What one task fills.
  struct Rows {
    const Packed* packed;
    const Part* part;
    int64_t first, count;
  };

  std::string Path(const std::string& name) const { return folder_.dir() + ": " + name; }

  // `out` rows of `in`: trailing dimensions of the file's tensor (a convolution's) count as one.
  void Check(const std::string& name, int64_t in, int64_t out) const {
    const TensorView& source = folder_.at(name);
    int64_t rows = out == 1 ? 1 : source.shape.empty() ? 1 : source.shape[0];
    int64_t count = 1;
    for (const int64_t size : source.shape) count *= size;
    if (rows != out || count != in * out) {
      Fail(folder_.dir() + ": tensor " + name + " does not have the shape that the model's sizes ask for");
    }
  }

  // Rows of a part from `row` on whose outputs are neighbours in one panel.
  static int64_t InOnePanel(const Part& part, int64_t row) {
    return std::min({part.rows - row, part.run - row % part.run,
                     PackedMatrix::kPanel - part.Output(row) % PackedMatrix::kPanel});
  }

  void FillBias(const Packed& packed, const Part& part) const {
    std::vector<float> row(part.rows);
    const std::string name = part.name + ".bias";
    Widen(folder_.at(name), 0, part.rows, Path(name), row.data());
    for (int64_t i = 0; i < part.rows; ++i) packed.target->bias[part.Output(i)] = row[i];
  }

  // widened: room, used again.
  void FillRows(const Rows& rows, std::vector<float>& widened) const {
    const int64_t in = rows.packed->in, count = rows.count * in;
    const std::string name = rows.part->name + ".weight";
    const TensorView& source = folder_.at(name);
    if (static_cast<int64_t>(widened.size()) < count) widened.resize(count);
    Widen(source, rows.first * in, count, Path(name), widened.data());
    try {
      rows.packed->target->matrix.SetOutputs(rows.part->Output(rows.first), rows.count, widened.data());
    } catch (const Error& error) {
      Fail(Path(name) + ": " + error.what());
    }
    // so that file and weights are never in memory both as a whole
    const int64_t bytes = source.dtype == "F32" ? 4 : 2;
    ForgetPages({source.data + rows.first * in * bytes, static_cast<size_t>(count * bytes)});
  }

  const Folder& folder_;
  ggml_context* context_;
  std::vector<Declared> declared_;
  std::vector<Packed> packed_;
};

// Takes declarations as the loader does and adds up what they will take.
class Counter {
 public:
  ggml_tensor* Table(const std::string& /*name*/, int64_t in, int64_t out) {
    floats_ += in * out;
    return nullptr;
  }
  ggml_tensor* Vector(const std::string& name, int64_t size) { return Table(name, size, 1); }
  LayerNorm Norm(const std::string& name, int64_t size) { return {Vector(name, size), Vector(name, size)}; }
  void Pack(const PackedLinear& /*target*/, WeightType type, int64_t in, int64_t outputs, bool bias,
            const std::vector<Loader::Part>& /*parts*/) {
    packed_ += PackedMatrix::Bytes(outputs, in, type);
    if (bias) floats_ += outputs;
  }
  int64_t bytes() const { return packed_ + floats_ * static_cast<int64_t>(sizeof(float)); }

 private:
  int64_t floats_ = 0, packed_ = 0;
};

// All rows of a file matrix, to outputs from `first` on.
Loader::Part Whole(const std::string& name, int64_t rows, int64_t first = 0) { return {name, rows, first, rows, 0}; }

template <class Sink>
void DeclareVision(Sink& loader, const ModelConfig& config, WeightType type, Weights& weights) {
  const VisionConfig& c = config.vision;
  const std::string root = "model.vision_model.";
  const int64_t side = c.image_size / c.patch_size;
  const auto pack = [&](PackedLinear& target, const std::string& name, int64_t in, int64_t out, bool bias = true) {
    loader.Pack(target, type, in, out, bias, {Whole(name, out)});
  };
  pack(weights.patch_embedding, root + "embeddings.patch_embedding", 3LL * c.patch_size * c.patch_size, c.hidden);
  weights.position_embedding =
      loader.Table(root + "embeddings.position_embedding.weight", c.hidden, side * side);
  weights.vision.resize(c.layers);  // the loader keeps pointers into it
  for (int32_t i = 0; i < c.layers; ++i) {
    const std::string layer = root + "encoder.layers." + std::to_string(i) + ".";
    VisionLayer& w = weights.vision[i];
    w.norm1 = loader.Norm(layer + "layer_norm1", c.hidden);
    w.norm2 = loader.Norm(layer + "layer_norm2", c.hidden);
    loader.Pack(w.qkv, type, c.hidden, 3LL * c.hidden, true,
                {Whole(layer + "self_attn.q_proj", c.hidden), Whole(layer + "self_attn.k_proj", c.hidden, c.hidden),
                 Whole(layer + "self_attn.v_proj", c.hidden, 2LL * c.hidden)});
    pack(w.out, layer + "self_attn.out_proj", c.hidden, c.hidden);
    pack(w.fc1, layer + "mlp.fc1", c.hidden, c.intermediate);
    pack(w.fc2, layer + "mlp.fc2", c.intermediate, c.hidden);
  }
  weights.vision_norm = loader.Norm(root + "post_layernorm", c.hidden);
  pack(weights.connector, "model.connector.modality_projection.proj",
       int64_t{c.hidden} * config.scale_factor * config.scale_factor, config.text.hidden, false);
}

template <class Sink>
void DeclareText(Sink& loader, const ModelConfig& config, const MatrixTypes& types, Weights& weights) {
  const TextConfig& c = config.text;
  const std::string root = "model.text_model.";
  constexpr int64_t kPanel = PackedMatrix::kPanel;
  const int64_t dim = c.head_dim, padded = HeadPanels(c) * kPanel;
  const int64_t gated = (c.intermediate + kPanel - 1) / kPanel * kPanel;
  weights.text.resize(c.layers);  // the loader keeps pointers into it
  for (int32_t i = 0; i < c.layers; ++i) {
    const std::string layer = root + "layers." + std::to_string(i) + ".";
    TextLayer& w = weights.text[i];
    w.input_norm.weight = loader.Vector(layer + "input_layernorm.weight", c.hidden);
    w.post_norm.weight = loader.Vector(layer + "post_attention_layernorm.weight", c.hidden);
    const auto heads = [&](const char* name, int64_t count, int64_t first) {
      return Loader::Part{layer + "self_attn." + name, count * dim, first * padded, dim, padded - dim};
    };
    loader.Pack(w.qkv, types.decoder, c.hidden, (c.heads + 2 * c.kv_heads) * padded, c.attention_bias,
                {heads("q_proj", c.heads, 0), heads("k_proj", c.kv_heads, c.heads),
                 heads("v_proj", c.kv_heads, c.heads + c.kv_heads)});
    loader.Pack(w.out, types.decoder, c.heads * dim, c.hidden, c.attention_bias,
                {Whole(layer + "self_attn.o_proj", c.hidden)});
    loader.Pack(w.gate_up, types.decoder, c.hidden, 2 * gated, c.mlp_bias,
                {{layer + "mlp.gate_proj", c.intermediate, 0, kPanel, kPanel},
                 {layer + "mlp.up_proj", c.intermediate, kPanel, kPanel, kPanel}});
    loader.Pack(w.down, types.decoder, c.intermediate, c.hidden, c.mlp_bias,
                {Whole(layer + "mlp.down_proj", c.hidden)});
  }
  weights.final_norm.weight = loader.Vector(root + "norm.weight", c.hidden);
  const Loader::Part embedding = Whole(root + "embed_tokens", c.vocab);
  loader.Pack(weights.head, types.head, c.hidden, c.vocab, false,
              {config.tied ? embedding : Whole("lm_head", c.vocab)});
  if (!config.tied) loader.Pack(weights.token_embedding, types.head, c.hidden, c.vocab, false, {embedding});
}

template <class Sink>
void Declare(Sink& sink, const ModelConfig& config, WeightType type, Weights& weights) {
  const MatrixTypes types(type);
  DeclareVision(sink, config, types.tower, weights);
  DeclareText(sink, config, types, weights);
}

}  // namespace

int64_t WeightBytes(const ModelConfig& config, WeightType type) {
  Counter counter;
  Weights declared;
  Declare(counter, config, type, declared);
  return counter.bytes();
}

Weights LoadWeights(const std::string& model_dir, const ModelConfig& config, WeightType type,
                    CpuBackend& backend) {
  const Folder folder(model_dir);
  const size_t tensors =
      16 + 16 * static_cast<size_t>(config.vision.layers) + 16 * static_cast<size_t>(config.text.layers);
  Weights weights;
  weights.context.reset(ggml_init({tensors * ggml_tensor_overhead(), nullptr, /*no_alloc=*/true}));
  if (!weights.context) Fail(model_dir + ": not enough memory for the list of weights");
  Loader loader(folder, weights.context.get());
  Declare(loader, config, type, weights);
  weights.buffer = backend.Allocate(weights.context.get());
  weights.packed = loader.Place();
  weights.bytes =
      static_cast<int64_t>(ggml_backend_buffer_get_size(weights.buffer.get())) + weights.packed.bytes();
  loader.Fill(backend);
  return weights;
}

}  // namespace kvcapsule
