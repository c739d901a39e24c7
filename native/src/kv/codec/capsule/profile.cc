#include "kv/codec/capsule/profile.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

using Json = nlohmann::json;
static_assert(std::endian::native == std::endian::little, "safetensors are little-endian and read in place");

constexpr const char* kFormat = "kvcapsule-profile";
constexpr const char* kVersion = "1";
// A header of 4096 layers' and heads' tensors takes under 2 MiB; what a hostile file can make us hold.
constexpr uint64_t kMaxHeaderBytes = 8u << 20;
constexpr int32_t kMaxTokens = 1 << 16;

struct Tensor {
  std::string dtype;
  std::vector<uint64_t> shape;
  uint64_t begin = 0, end = 0;
};

std::string TensorName(int32_t layer, int32_t kv_head, const char* what) {
  return "layers." + std::to_string(layer) + ".heads." + std::to_string(kv_head) + "." + what;
}

// A profile file while it is read: the header is checked before any tensor is touched.
class Reader {
 public:
  Reader(const std::string& path, const KvGeometry& geometry) : path_(path), geometry_(geometry) {}

  CapsuleProfile Read() {
    Open();
    const Json header = ReadHeader();
    const int32_t tokens = ReadMetadata(header);
    ReadTable(header);
    CapsuleProfile profile;
    profile.tokens = tokens;
    profile.layers = geometry_.layers;
    profile.kv_heads = geometry_.kv_heads;
    profile.head_dim = geometry_.head_dim;
    for (int32_t layer = 0; layer < geometry_.layers; ++layer) {
      for (int32_t kv_head = 0; kv_head < geometry_.kv_heads; ++kv_head) {
        profile.heads.push_back(ReadHead(layer, kv_head, tokens));
      }
    }
    if (!tensors_.empty())
      Fail("has a tensor that this model's geometry does not: " + tensors_.begin()->first);
    profile.id = std::filesystem::path(path_).stem().string() + "-" + Hex(hash_);
    return profile;
  }

 private:
  [[noreturn]] void Fail(const std::string& why) const {
    throw Error(ErrorCode::kProfileInvalid,
                "profile " + std::filesystem::path(path_).filename().string() + " " + why);
  }

  static std::string Hex(uint64_t hash) {
    std::string text(16, '0');
    for (int i = 15; i >= 0; --i, hash >>= 4) text[i] = "0123456789abcdef"[hash & 15];
    return text;
  }

  void Open() {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path_, error)) Fail("is not a file");
    file_bytes_ = std::filesystem::file_size(path_, error);
    file_.open(path_, std::ios::binary);
    if (error || !file_) Fail("cannot be read");
  }

  void ReadBytes(void* to, uint64_t bytes) {
    file_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
    if (static_cast<uint64_t>(file_.gcount()) != bytes) Fail("ends too early");
    const auto* data = static_cast<const uint8_t*>(to);
    for (uint64_t i = 0; i < bytes; ++i) hash_ = (hash_ ^ data[i]) * 1099511628211ULL;
  }

  Json ReadHeader() {
    uint64_t bytes = 0;
    ReadBytes(&bytes, sizeof bytes);
    if (bytes > kMaxHeaderBytes || bytes > file_bytes_ - sizeof bytes)
      Fail("has a header longer than it may be");
    std::string text(bytes, '\0');
    ReadBytes(text.data(), bytes);
    data_start_ = sizeof bytes + bytes;
    Json header = Json::parse(text, nullptr, false);
    if (!header.is_object()) Fail("has a header that is not a JSON object");
    return header;
  }

  std::string MetadataText(const Json& metadata, const char* key) const {
    const auto found = metadata.find(key);
    if (found == metadata.end() || !found->is_string() || found->get_ref<const std::string&>().empty()) {
      Fail(std::string("lacks the text ") + key + " in __metadata__");
    }
    return found->get<std::string>();
  }

  int32_t ReadMetadata(const Json& header) const {
    const auto found = header.find("__metadata__");
    if (found == header.end() || !found->is_object()) Fail("has no __metadata__");
    if (MetadataText(*found, "format") != kFormat) Fail("is of another format than " + std::string(kFormat));
    if (MetadataText(*found, "version") != kVersion)
      Fail("is of another version than " + std::string(kVersion));
    MetadataText(*found, "model_revision");
    MetadataText(*found, "retention");
    const std::string text = MetadataText(*found, "n");
    int32_t tokens = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), tokens);
    if (error != std::errc() || end != text.data() + text.size() || tokens < 1 || tokens > kMaxTokens) {
      Fail("names an n outside 1.." + std::to_string(kMaxTokens));
    }
    return tokens;
  }

  Tensor ReadEntry(const std::string& name, const Json& entry) const {
    const auto is_list = [](const Json& list, size_t most) {
      return list.is_array() && list.size() <= most &&
             std::all_of(list.begin(), list.end(), [](const Json& x) { return x.is_number_unsigned(); });
    };
    if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
        !entry.contains("data_offsets") || !entry["dtype"].is_string() || !is_list(entry["shape"], 2) ||
        !is_list(entry["data_offsets"], 2) || entry["data_offsets"].size() != 2) {
      Fail("has a malformed entry for " + Short(name));
    }
    Tensor tensor{entry["dtype"], entry["shape"], entry["data_offsets"][0], entry["data_offsets"][1]};
    if (tensor.begin > tensor.end || tensor.end > file_bytes_ - data_start_)
      Fail("has offsets outside the file for " + Short(name));
    return tensor;
  }

  static std::string Short(const std::string& name) { return name.substr(0, 80); }

  // Tensors must lie end to end over the whole data part: no overlaps, no holes, nothing hidden.
  void ReadTable(const Json& header) {
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      const Tensor tensor = ReadEntry(name, entry);
      ranges.emplace_back(tensor.begin, tensor.end);
      tensors_.emplace(name, tensor);
    }
    std::sort(ranges.begin(), ranges.end());
    uint64_t reached = 0;
    for (const auto& [begin, end] : ranges) {
      if (begin != reached) Fail("has tensors that overlap or leave holes");
      reached = end;
    }
    if (reached != file_bytes_ - data_start_) Fail("has bytes that belong to no tensor");
  }

  Tensor Take(const std::string& name, const char* dtype, const std::vector<uint64_t>& shape) {
    auto node = tensors_.extract(name);
    if (node.empty()) Fail("lacks the tensor " + name + " that this model's geometry needs");
    const Tensor& tensor = node.mapped();
    uint64_t bytes = 4;
    for (const uint64_t extent : shape) bytes *= extent;
    if (tensor.dtype != dtype || tensor.shape != shape || tensor.end - tensor.begin != bytes) {
      Fail("has another type, shape or size than expected for " + name);
    }
    return tensor;
  }

  template <class Element>
  std::vector<Element> ReadTensor(const Tensor& tensor) {
    std::vector<Element> values((tensor.end - tensor.begin) / sizeof(Element));
    file_.seekg(static_cast<std::streamoff>(data_start_ + tensor.begin));
    ReadBytes(values.data(), values.size() * sizeof(Element));
    return values;
  }

  std::vector<float> ReadFloats(const std::string& name, const std::vector<uint64_t>& shape) {
    auto values = ReadTensor<float>(Take(name, "F32", shape));
    if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); })) {
      Fail("has values that are not finite in " + name);
    }
    return values;
  }

  CapsuleHead ReadHead(int32_t layer, int32_t kv_head, int32_t tokens) {
    const std::string mask_name = TensorName(layer, kv_head, "mask");
    const auto found = tensors_.find(mask_name);
    if (found == tensors_.end()) Fail("lacks the tensor " + mask_name + " that this model's geometry needs");
    if (found->second.shape.size() != 1 || found->second.shape[0] < 1 ||
        found->second.shape[0] > static_cast<uint64_t>(tokens)) {
      Fail("has a mask of no length between 1 and n: " + mask_name);
    }
    const uint64_t rows = found->second.shape[0], n = tokens;
    CapsuleHead head;
    head.rows = static_cast<int32_t>(rows);
    head.mask = ReadTensor<int32_t>(Take(mask_name, "I32", {rows}));
    for (size_t i = 0; i < head.mask.size(); ++i) {
      if (head.mask[i] < 0 || head.mask[i] >= tokens || (i > 0 && head.mask[i] <= head.mask[i - 1])) {
        Fail("has a mask that is not ascending inside [0, n): " + mask_name);
      }
    }
    head.theta = ReadFloats(TensorName(layer, kv_head, "theta"), {rows, n});
    head.basis = ReadFloats(TensorName(layer, kv_head, "basis"), {rows, n});
    head.mean = ReadFloats(TensorName(layer, kv_head, "mean"), {static_cast<uint64_t>(geometry_.head_dim)});
    return head;
  }

  const std::string path_;
  const KvGeometry geometry_;
  std::ifstream file_;
  uint64_t file_bytes_ = 0;
  uint64_t data_start_ = 0;
  uint64_t hash_ = 14695981039346656037ULL;  // FNV-1a of everything read
  std::map<std::string, Tensor> tensors_;
};

// Collects tensors end to end; the header is written first, then the same bytes in the same order.
class Writer {
 public:
  template <class Element>
  void Add(const std::string& name, const char* dtype, const std::vector<int32_t>& shape,
           const std::vector<Element>& values) {
    const uint64_t bytes = values.size() * sizeof(Element);
    header_[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {end_, end_ + bytes}}};
    parts_.emplace_back(reinterpret_cast<const char*>(values.data()), bytes);
    end_ += bytes;
  }
  void SetMetadata(const Json& metadata) { header_["__metadata__"] = metadata; }

  void WriteTo(std::ostream& out) const {
    std::string text = header_.dump();
    text.append((8 - text.size() % 8) % 8, ' ');  // data begins aligned
    const uint64_t bytes = text.size();
    out.write(reinterpret_cast<const char*>(&bytes), sizeof bytes);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    for (const auto& [data, size] : parts_) out.write(data, static_cast<std::streamsize>(size));
  }

 private:
  Json header_;
  std::vector<std::pair<const char*, uint64_t>> parts_;
  uint64_t end_ = 0;
};

// Rows kept over n, layer by layer, as fitted: "0.4007,0.25".
std::string RetentionText(const CapsuleProfile& profile) {
  Json list = Json::array();
  for (int32_t layer = 0; layer < profile.layers; ++layer) {
    list.push_back(static_cast<double>(profile.head(layer, 0).rows) / profile.tokens);
  }
  const std::string text = list.dump();
  return text.substr(1, text.size() - 2);
}

}  // namespace

CapsuleProfile LoadProfile(const std::string& path, const KvGeometry& geometry) {
  return Reader(path, geometry).Read();
}

void SaveProfile(const std::string& path, const CapsuleProfile& profile,
                 const std::vector<std::pair<std::string, std::string>>& metadata) {
  Json texts = {{"retention", RetentionText(profile)}};
  for (const auto& [key, value] : metadata) texts[key] = value;
  texts["format"] = kFormat;
  texts["version"] = kVersion;
  texts["n"] = std::to_string(profile.tokens);
  if (!texts.contains("model_revision"))
    throw Error(ErrorCode::kProfileInvalid, "a profile needs a model_revision");

  Writer writer;
  writer.SetMetadata(texts);
  for (int32_t layer = 0; layer < profile.layers; ++layer) {
    for (int32_t kv_head = 0; kv_head < profile.kv_heads; ++kv_head) {
      const CapsuleHead& head = profile.head(layer, kv_head);
      writer.Add(TensorName(layer, kv_head, "mask"), "I32", {head.rows}, head.mask);
      writer.Add(TensorName(layer, kv_head, "theta"), "F32", {head.rows, profile.tokens}, head.theta);
      writer.Add(TensorName(layer, kv_head, "basis"), "F32", {head.rows, profile.tokens}, head.basis);
      writer.Add(TensorName(layer, kv_head, "mean"), "F32", {profile.head_dim}, head.mean);
    }
  }
  // Written beside and renamed, so that a reader never sees half a profile.
  const std::string partial = path + ".partial";
  std::ofstream file(partial, std::ios::binary | std::ios::trunc);
  writer.WriteTo(file);
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(partial, path, error);
  if (!file || error) {
    std::filesystem::remove(partial, error);
    throw Error(ErrorCode::kProfileInvalid,
                "profile " + std::filesystem::path(path).filename().string() + " cannot be written");
  }
}

}  // namespace kvcapsule
