#include "kv/codec/profile_file.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "common/half.h"
#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

using Json = nlohmann::json;
static_assert(std::endian::native == std::endian::little, "safetensors are little-endian and read in place");

constexpr const char* kFormat = "kvcapsule-profile";
// A header of 4096 layers' and heads' tensors takes a few MiB; what a hostile file can make us hold.
constexpr uint64_t kMaxHeaderBytes = 8u << 20;

std::string Hex(uint64_t hash) {
  std::string text(16, '0');
  for (int i = 15; i >= 0; --i, hash >>= 4) text[i] = "0123456789abcdef"[hash & 15];
  return text;
}

std::string Short(const std::string& name) { return name.substr(0, 80); }

uint64_t ElementBytes(const std::string& dtype) { return dtype == "U8" ? 1 : dtype == "F16" ? 2 : 4; }

}  // namespace

ProfileReader::ProfileReader(const std::string& path) : path_(path) {
  Open();
  const Json header = ReadHeader();
  const auto found = header.find("__metadata__");
  if (found == header.end() || !found->is_object()) Fail("has no __metadata__");
  metadata_ = *found;
  if (Text("format") != kFormat) Fail("is of another format than " + std::string(kFormat));
  Text("model_revision");
  ReadTable(header);
}

void ProfileReader::Fail(const std::string& why) const {
  throw Error(ErrorCode::kProfileInvalid,
              "profile " + std::filesystem::path(path_).filename().string() + " " + why);
}

std::string ProfileReader::Text(const char* key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end() || !found->is_string() || found->get_ref<const std::string&>().empty()) {
    Fail(std::string("lacks the text ") + key + " in __metadata__");
  }
  return found->get<std::string>();
}

std::string ProfileReader::Text(const char* key, const char* fallback) const {
  return metadata_.contains(key) ? Text(key) : fallback;
}

int32_t ProfileReader::Integer(const char* key, int32_t least, int32_t most) const {
  const std::string text = Text(key);
  int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    Fail(std::string("names an ") + key + " outside " + std::to_string(least) + ".." + std::to_string(most));
  }
  return value;
}

void ProfileReader::Open() {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path_, error)) Fail("is not a file");
  file_bytes_ = std::filesystem::file_size(path_, error);
  file_.open(path_, std::ios::binary);
  if (error || !file_) Fail("cannot be read");
}

void ProfileReader::ReadBytes(void* to, uint64_t bytes) {
  file_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
  if (static_cast<uint64_t>(file_.gcount()) != bytes) Fail("ends too early");
  const auto* data = static_cast<const uint8_t*>(to);
  for (uint64_t i = 0; i < bytes; ++i) hash_ = (hash_ ^ data[i]) * 1099511628211ULL;
}

Json ProfileReader::ReadHeader() {
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

ProfileReader::Tensor ProfileReader::ReadEntry(const std::string& name, const Json& entry) const {
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

void ProfileReader::ReadTable(const Json& header) {
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

ProfileReader::Tensor ProfileReader::Take(const std::string& name, const char* dtype,
                                          const std::vector<uint64_t>& shape) {
  auto node = tensors_.extract(name);
  if (node.empty()) Fail("lacks the tensor " + name + " that this model's geometry needs");
  const Tensor& tensor = node.mapped();
  uint64_t bytes = ElementBytes(dtype);
  for (const uint64_t extent : shape) bytes *= extent;
  if (tensor.dtype != dtype || tensor.shape != shape || tensor.end - tensor.begin != bytes) {
    Fail("has another type, shape or size than expected for " + name);
  }
  return tensor;
}

template <class Element>
std::vector<Element> ProfileReader::ReadTensor(const Tensor& tensor) {
  std::vector<Element> values((tensor.end - tensor.begin) / sizeof(Element));
  file_.seekg(static_cast<std::streamoff>(data_start_ + tensor.begin));
  ReadBytes(values.data(), values.size() * sizeof(Element));
  return values;
}

const std::vector<uint64_t>& ProfileReader::Shape(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) Fail("lacks the tensor " + name + " that this model's geometry needs");
  return found->second.shape;
}

std::vector<float> ProfileReader::Floats(const std::string& name, const std::vector<uint64_t>& shape) {
  const auto found = tensors_.find(name);
  std::vector<float> values;
  if (found != tensors_.end() && found->second.dtype == "F16") {
    const auto halves = ReadTensor<uint16_t>(Take(name, "F16", shape));
    values.resize(halves.size());
    ToFloat(Dtype::kF16, reinterpret_cast<const uint8_t*>(halves.data()), static_cast<int64_t>(halves.size()),
            values.data());
  } else {
    values = ReadTensor<float>(Take(name, "F32", shape));
  }
  if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); })) {
    Fail("has values that are not finite in " + name);
  }
  return values;
}

std::vector<int32_t> ProfileReader::Integers(const std::string& name, const std::vector<uint64_t>& shape) {
  return ReadTensor<int32_t>(Take(name, "I32", shape));
}

std::vector<uint8_t> ProfileReader::Bytes(const std::string& name, const std::vector<uint64_t>& shape) {
  return ReadTensor<uint8_t>(Take(name, "U8", shape));
}

void ProfileReader::End() const {
  if (!tensors_.empty())
    Fail("has a tensor that this model's geometry does not: " + Short(tensors_.begin()->first));
}

std::string ProfileReader::Id() const {
  return std::filesystem::path(path_).stem().string() + "-" + Hex(hash_);
}

void ProfileWriter::AddBytes(const std::string& name, const char* dtype, const std::vector<int32_t>& shape,
                             const void* data, uint64_t bytes) {
  header_[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {end_, end_ + bytes}}};
  parts_.emplace_back(static_cast<const char*>(data), bytes);
  end_ += bytes;
}

void ProfileWriter::Add(const std::string& name, const std::vector<int32_t>& shape,
                        const std::vector<float>& values) {
  AddBytes(name, "F32", shape, values.data(), values.size() * sizeof(float));
}
void ProfileWriter::Add(const std::string& name, const std::vector<int32_t>& shape,
                        const std::vector<int32_t>& values) {
  AddBytes(name, "I32", shape, values.data(), values.size() * sizeof(int32_t));
}
void ProfileWriter::Add(const std::string& name, const std::vector<int32_t>& shape,
                        const std::vector<uint8_t>& values) {
  AddBytes(name, "U8", shape, values.data(), values.size());
}
void ProfileWriter::AddHalf(const std::string& name, const std::vector<int32_t>& shape,
                            const std::vector<float>& values) {
  owned_.emplace_back(values.size() * 2);
  FromFloat(Dtype::kF16, values.data(), static_cast<int64_t>(values.size()), owned_.back().data());
  AddBytes(name, "F16", shape, owned_.back().data(), owned_.back().size());
}

void ProfileWriter::AddOwned(const std::string& name, const std::vector<float>& values) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  owned_.emplace_back(bytes, bytes + values.size() * sizeof(float));
  AddBytes(name, "F32", {static_cast<int32_t>(values.size())}, owned_.back().data(), owned_.back().size());
}

void ProfileWriter::WriteTo(const std::string& path, const char* version, const ProfileMetadata& metadata) {
  Json texts = Json::object();
  for (const auto& [key, value] : metadata) texts[key] = value;
  texts["format"] = kFormat;
  texts["version"] = version;
  if (!texts.contains("model_revision"))
    throw Error(ErrorCode::kProfileInvalid, "a profile needs a model_revision");
  header_["__metadata__"] = texts;
  std::string text = header_.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // data begins aligned
  const uint64_t bytes = text.size();

  const std::string partial = path + ".partial";
  std::ofstream file(partial, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(&bytes), sizeof bytes);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const auto& [data, size] : parts_) file.write(data, static_cast<std::streamsize>(size));
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(partial, path, error);
  if (!file || error) {
    std::filesystem::remove(partial, error);
    throw Error(ErrorCode::kProfileInvalid,
                "profile " + std::filesystem::path(path).filename().string() + " cannot be written");
  }
}

std::string HeadTensor(int32_t layer, int32_t kv_head, const std::string& what) {
  return "layers." + std::to_string(layer) + ".heads." + std::to_string(kv_head) + "." + what;
}

}  // namespace kvcapsule
