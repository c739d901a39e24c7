#include "arguments.h"

#include <array>
#include <cmath>

namespace kvcapsule::addon {
namespace {

[[noreturn]] void Fail(Napi::Env env, const std::string& message) {
  throw Napi::TypeError::New(env, message);
}

Napi::Object ReadObject(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) Fail(value.Env(), std::string(name) + " must be an object");
  return value.As<Napi::Object>();
}

template <class T>
std::vector<T> ReadArray(const Napi::Value& value, const char* name, napi_typedarray_type type,
                         const char* type_name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    Fail(value.Env(), std::string(name) + " must be a " + type_name);
  }
  const auto array = value.As<Napi::TypedArrayOf<T>>();
  // a detached buffer has no data
  if (array.ElementLength() == 0 || array.Data() == nullptr) return {};
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<float> ReadFloat32Array(const Napi::Value& value, const char* name) {
  return ReadArray<float>(value, name, napi_float32_array, "Float32Array");
}

// The sampling features of a plan, each of which may be left out.
void ReadFeatures(const Napi::Object& object, OwnedPlan& plan) {
  const auto given = [&](const char* name) { return !object.Get(name).IsUndefined(); };
  if (given("minP")) plan.min_p = ReadFloat32Array(object.Get("minP"), "minP");
  if (given("topLogprobs")) plan.top_logprobs = ReadInt32Array(object.Get("topLogprobs"), "topLogprobs");
  if (given("penalties")) {
    const Napi::Object part = ReadObject(object.Get("penalties"), "penalties");
    plan.penalty_samples = ReadInt32Array(part.Get("samples"), "penalties.samples");
    plan.penalty_factors = ReadFloat32Array(part.Get("factors"), "penalties.factors");
    plan.penalty_offsets = ReadInt32Array(part.Get("offsets"), "penalties.offsets");
    plan.penalty_tokens = ReadInt32Array(part.Get("tokens"), "penalties.tokens");
    plan.penalty_counts = ReadInt32Array(part.Get("counts"), "penalties.counts");
  }
  if (given("bias")) {
    const Napi::Object part = ReadObject(object.Get("bias"), "bias");
    plan.bias_samples = ReadInt32Array(part.Get("samples"), "bias.samples");
    plan.bias_offsets = ReadInt32Array(part.Get("offsets"), "bias.offsets");
    plan.bias_tokens = ReadInt32Array(part.Get("tokens"), "bias.tokens");
    plan.bias_values = ReadFloat32Array(part.Get("values"), "bias.values");
  }
  if (given("masks")) {
    const Napi::Object part = ReadObject(object.Get("masks"), "masks");
    plan.mask_samples = ReadInt32Array(part.Get("samples"), "masks.samples");
    plan.mask_bits = ReadArray<uint32_t>(part.Get("bits"), "masks.bits", napi_uint32_array, "Uint32Array");
  }
}

std::vector<std::pair<std::string, std::string>> ReadTexts(const Napi::Value& value, const char* name) {
  const Napi::Object object = ReadObject(value, name);
  const Napi::Array keys = object.GetPropertyNames();
  std::vector<std::pair<std::string, std::string>> texts;
  for (uint32_t i = 0; i < keys.Length(); ++i) {
    const Napi::Value key = keys.Get(i);
    texts.emplace_back(key.ToString().Utf8Value(), ReadString(object.Get(key), name));
  }
  return texts;
}

double ReadNumber(const Napi::Value& value, const char* name) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!std::isfinite(number)) Fail(value.Env(), std::string(name) + " must be a number");
  return number;
}

bool ReadFlag(const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) Fail(value.Env(), std::string(name) + " must be true or false");
  return value.As<Napi::Boolean>().Value();
}

std::array<float, 3> ReadTriple(const Napi::Value& value, const char* name) {
  if (!value.IsArray() || value.As<Napi::Array>().Length() != 3)
    Fail(value.Env(), std::string(name) + " must be three numbers");
  const auto array = value.As<Napi::Array>();
  std::array<float, 3> numbers{};
  for (uint32_t i = 0; i < 3; ++i) numbers[i] = static_cast<float>(ReadNumber(array.Get(i), name));
  return numbers;
}

// Fields of one object of the model; what they may be is CheckModelConfig's to say.
class ModelFields {
 public:
  ModelFields(const Napi::Value& value, const char* name) : object_(ReadObject(value, name)), name_(name) {}

  Napi::Value At(const char* key) const { return object_.Get(key); }
  int32_t Size(const char* key) const {
    return static_cast<int32_t>(ReadInteger(At(key), Where(key).c_str(), 0, INT32_MAX));
  }
  float Number(const char* key) const { return static_cast<float>(Double(key)); }
  double Double(const char* key) const { return ReadNumber(At(key), Where(key).c_str()); }
  bool Flag(const char* key) const { return ReadFlag(At(key), Where(key).c_str()); }
  std::array<float, 3> Triple(const char* key) const { return ReadTriple(At(key), Where(key).c_str()); }

 private:
  std::string Where(const char* key) const { return std::string(name_) + "." + key; }

  Napi::Object object_;
  const char* name_;
};

TextConfig ReadText(const ModelFields& fields) {
  TextConfig text;
  text.vocab = fields.Size("vocab");
  text.hidden = fields.Size("hidden");
  text.intermediate = fields.Size("intermediate");
  text.layers = fields.Size("layers");
  text.heads = fields.Size("heads");
  text.kv_heads = fields.Size("kvHeads");
  text.head_dim = fields.Size("headDim");
  text.context_tokens = fields.Size("contextTokens");
  text.rms_norm_eps = fields.Number("normEpsilon");
  text.rope_theta = fields.Number("ropeTheta");
  text.attention_bias = fields.Flag("attentionBias");
  text.mlp_bias = fields.Flag("mlpBias");
  return text;
}

VisionConfig ReadVision(const ModelFields& fields) {
  VisionConfig vision;
  vision.hidden = fields.Size("hidden");
  vision.intermediate = fields.Size("intermediate");
  vision.layers = fields.Size("layers");
  vision.heads = fields.Size("heads");
  vision.image_size = fields.Size("imagePx");
  vision.patch_size = fields.Size("patchPx");
  vision.layer_norm_eps = fields.Number("normEpsilon");
  return vision;
}

ImageConfig ReadImage(const ModelFields& fields) {
  ImageConfig image;
  image.longest_edge = fields.Size("longestEdgePx");
  image.tile = fields.Size("tilePx");
  image.split = fields.Flag("splits");
  image.resample = static_cast<Resample>(ReadInteger(fields.At("resample"), "pictures.resample", 1, 3));
  image.rescale = fields.Double("rescale");
  image.mean = fields.Triple("mean");
  image.std = fields.Triple("std");
  return image;
}

ModelConfig ReadModel(const Napi::Value& value) {
  const ModelFields fields(value, "model");
  ModelConfig model;
  model.family = ReadString(fields.At("family"), "model.family");
  model.text = ReadText({fields.At("text"), "model.text"});
  model.vision = ReadVision({fields.At("vision"), "model.vision"});
  model.image = ReadImage({fields.At("pictures"), "model.pictures"});
  model.image_token_id = fields.Size("imageTokenId");
  model.scale_factor = fields.Size("scaleFactor");
  model.tied = fields.Flag("tiedHead");
  return model;
}

Dtype ReadDtype(const Napi::Value& value, const char* name) {
  const std::string text = ReadString(value, name);
  if (text == "f32") return Dtype::kF32;
  if (text == "f16") return Dtype::kF16;
  if (text == "bf16") return Dtype::kBF16;
  Fail(value.Env(), std::string(name) + " must be f32, f16 or bf16");
}

WeightType ReadWeightType(const Napi::Value& value) {
  const std::string text = ReadString(value, "weights");
  if (text == "q8_0") return WeightType::kQ8_0;
  if (text == "q4_1") return WeightType::kQ4_1;
  if (text == "f32") return WeightType::kF32;
  if (text == "f16") return WeightType::kF16;
  if (text == "bf16") return WeightType::kBF16;
  Fail(value.Env(), "weights must be f32, f16, bf16, q8_0 or q4_1");
}

std::vector<std::string> ReadProfiles(const Napi::Value& value) {
  if (!value.IsArray()) Fail(value.Env(), "profiles must be an array");
  const auto list = value.As<Napi::Array>();
  std::vector<std::string> profiles;
  for (uint32_t i = 0; i < list.Length(); ++i) profiles.push_back(ReadString(list.Get(i), "profiles"));
  return profiles;
}

}  // namespace

std::string ReadString(const Napi::Value& value, const char* name) {
  if (!value.IsString()) Fail(value.Env(), std::string(name) + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

StepPlan OwnedPlan::View() const {
  const SampleFeatures features{
      min_p,
      top_logprobs,
      {penalty_samples, penalty_factors, penalty_offsets, penalty_tokens, penalty_counts},
      {bias_samples, bias_offsets, bias_tokens, bias_values},
      {mask_samples, mask_bits}};
  return {ops,         chunks, tokens, positions, image_handles, image_rows, samples,
          temperature, top_p,  top_k,  seed,      return_logits, return_queries, features};
}

int64_t ReadInteger(const Napi::Value& value, const char* name, int64_t low, int64_t high) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)) ||
      number != std::floor(number)) {
    Fail(value.Env(), std::string(name) + " must be a whole number from " + std::to_string(low) + " to " +
                          std::to_string(high));
  }
  return static_cast<int64_t>(number);
}

std::vector<int32_t> ReadInt32Array(const Napi::Value& value, const char* name) {
  return ReadArray<int32_t>(value, name, napi_int32_array, "Int32Array");
}

std::vector<uint8_t> ReadBytes(const Napi::Value& value, const char* name) {
  return ReadArray<uint8_t>(value, name, napi_uint8_array, "Uint8Array");
}

Napi::Uint8Array ReadPixels(const Napi::Value& value, int64_t width, int64_t height) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    Fail(value.Env(), "rgb must be a Uint8Array");
  const auto pixels = value.As<Napi::Uint8Array>();
  // a detached buffer has no elements
  if (static_cast<int64_t>(pixels.ElementLength()) != width * height * 3)
    Fail(value.Env(), "rgb must hold width * height * 3 bytes");
  return pixels;
}

EngineOptions ReadEngineOptions(const Napi::Value& value) {
  const Napi::Object object = ReadObject(value, "options");
  EngineOptions options;
  options.model_dir = ReadString(object.Get("modelDir"), "modelDir");
  options.model = ReadModel(object.Get("model"));
  options.weights = ReadWeightType(object.Get("weights"));
  options.kv = ReadDtype(object.Get("kvDtype"), "kvDtype");
  options.threads = static_cast<int32_t>(ReadInteger(object.Get("threads"), "threads", 0, INT32_MAX));
  options.pool_blocks = ReadInteger(object.Get("poolBlocks"), "poolBlocks", 0, INT64_C(1) << 53);
  options.max_slots = static_cast<int32_t>(ReadInteger(object.Get("maxSlots"), "maxSlots", 0, INT32_MAX));
  options.max_step_tokens =
      static_cast<int32_t>(ReadInteger(object.Get("maxStepTokens"), "maxStepTokens", 0, INT32_MAX));
  options.profiles = ReadProfiles(object.Get("profiles"));
  return options;
}

MemoryOptions ReadMemoryOptions(const Napi::Value& value) {
  const Napi::Object object = ReadObject(value, "options");
  MemoryOptions options;
  options.model = ReadModel(object.Get("model"));
  options.threads = static_cast<int32_t>(ReadInteger(object.Get("threads"), "threads", 0, 512));
  options.weights = ReadWeightType(object.Get("weights"));
  options.kv = ReadDtype(object.Get("kvDtype"), "kvDtype");
  options.max_slots = static_cast<int32_t>(ReadInteger(object.Get("maxSlots"), "maxSlots", 0, INT32_MAX));
  options.max_step_tokens =
      static_cast<int32_t>(ReadInteger(object.Get("maxStepTokens"), "maxStepTokens", 0, INT32_MAX));
  options.tiles = ReadInteger(object.Get("tiles"), "tiles", 0, INT32_MAX);
  options.profiles = ReadProfiles(object.Get("profiles"));
  return options;
}

OwnedPlan ReadPlan(const Napi::Value& value) {
  const Napi::Object object = ReadObject(value, "plan");
  OwnedPlan plan;
  plan.ops = ReadInt32Array(object.Get("ops"), "ops");
  plan.chunks = ReadInt32Array(object.Get("chunks"), "chunks");
  plan.tokens = ReadInt32Array(object.Get("tokens"), "tokens");
  plan.positions = ReadInt32Array(object.Get("positions"), "positions");
  plan.image_handles = ReadInt32Array(object.Get("imageHandles"), "imageHandles");
  plan.image_rows = ReadInt32Array(object.Get("imageRows"), "imageRows");
  plan.samples = ReadInt32Array(object.Get("samples"), "samples");
  plan.temperature = ReadFloat32Array(object.Get("temperature"), "temperature");
  plan.top_p = ReadFloat32Array(object.Get("topP"), "topP");
  plan.top_k = ReadInt32Array(object.Get("topK"), "topK");
  plan.seed = ReadArray<uint64_t>(object.Get("seed"), "seed", napi_biguint64_array, "BigUint64Array");
  ReadFeatures(object, plan);
  const auto flag = [&](const char* name) {
    const Napi::Value value = object.Get(name);
    return value.IsBoolean() && value.As<Napi::Boolean>().Value();
  };
  plan.return_logits = flag("returnLogits");
  plan.return_queries = flag("returnQueries");
  return plan;
}

FitRequest ReadFitRequest(const Napi::Value& value) {
  const Napi::Object object = ReadObject(value, "options");
  FitRequest request;
  request.tokens = static_cast<int32_t>(ReadInteger(object.Get("tokens"), "tokens", 1, INT32_MAX));
  request.retention = ReadFloat32Array(object.Get("retention"), "retention");
  request.path = ReadString(object.Get("path"), "path");
  request.metadata = ReadTexts(object.Get("metadata"), "metadata");
  return request;
}

namespace {

double ReadDouble(const Napi::Value& value, const char* name) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!std::isfinite(number)) Fail(value.Env(), std::string(name) + " must be a number");
  return number;
}

// But for what names the rows of one span.
PackedFitRequest ReadFitChoices(const Napi::Object& object) {
  const auto text = [&object](const char* name) { return ReadString(object.Get(name), name); };
  PackedFitRequest request;
  request.codec = text("codec");
  request.key_template = text("keyTemplate");
  request.value_template = text("valueTemplate");
  const auto flag = [&object](const char* name) {
    const Napi::Value value = object.Get(name);
    return value.IsBoolean() && value.As<Napi::Boolean>().Value();
  };
  request.rotate = flag("rotate");
  request.weigh_rows = flag("weighRows");
  request.basis = text("basis");
  request.allocation = text("allocation");
  request.bits = static_cast<int32_t>(ReadInteger(object.Get("bits"), "bits", 0, INT32_MAX));
  request.candidates = ReadDouble(object.Get("candidates"), "candidates");
  request.row_cost = static_cast<float>(ReadDouble(object.Get("rowCost"), "rowCost"));
  request.sensitivities = ReadArray<double>(object.Get("sensitivities"), "sensitivities",
                                            napi_float64_array, "Float64Array");
  request.path = text("path");
  request.metadata = ReadTexts(object.Get("metadata"), "metadata");
  return request;
}

}  // namespace

PackedFitRequest ReadPackedFitRequest(const Napi::Value& value) {
  const Napi::Object object = ReadObject(value, "options");
  PackedFitRequest request = ReadFitChoices(object);
  request.groups = ReadInt32Array(object.Get("groups"), "groups");
  request.marker_rows = ReadInt32Array(object.Get("markerRows"), "markerRows");
  request.bytes = ReadInteger(object.Get("bytes"), "bytes", 0, INT32_MAX);
  return request;
}

PieceFitRequest ReadPieceFitRequest(const Napi::Value& value) {
  const Napi::Object object = ReadObject(value, "options");
  const auto numbers = [&object](const char* name) { return ReadInt32Array(object.Get(name), name); };
  PieceFitRequest request;
  request.packed = ReadFitChoices(object);
  request.kind_rows = numbers("kindRows");
  request.kind_markers = numbers("kindMarkers");
  request.sites = numbers("sites");
  request.layouts = numbers("layouts");
  request.layout_begins = numbers("layoutBegins");
  request.layout_bytes = numbers("layoutBytes");
  return request;
}

PerturbRequest ReadPerturbRequest(const Napi::Value& value) {
  const Napi::Object object = ReadObject(value, "options");
  const auto number = [&object](const char* name) {
    return static_cast<int32_t>(ReadInteger(object.Get(name), name, 0, INT32_MAX));
  };
  PerturbRequest request;
  request.slot = number("slot");
  request.segment = number("segment");
  request.layer = number("layer");
  request.kv_head = number("kvHead");
  request.part = static_cast<KvPart>(ReadInteger(object.Get("part"), "part", 0, 1));
  request.seed = number("seed");
  request.relative = ReadDouble(object.Get("relative"), "relative");
  return request;
}

}  // namespace kvcapsule::addon
