#include "common/safetensors.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>

namespace kvcapsule {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

MappedFile Map(const std::string& path, ErrorCode on_error) {
  try {
    return MappedFile(path);
  } catch (const std::system_error& error) {
    throw Error(on_error, error.what());
  }
}

// 0 for a dtype that the format does not name.
int64_t ElementBytes(const std::string& dtype) {
  static const std::map<std::string, int64_t> kBytes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
      {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"I64", 8},     {"U64", 8}, {"F64", 8}};
  const auto found = kBytes.find(dtype);
  return found == kBytes.end() ? 0 : found->second;
}

// -1 when the product does not fit the file, so that it cannot overflow.
int64_t CountElements(const std::vector<int64_t>& shape, int64_t limit) {
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0) return -1;
    if (size > 0 && count > limit / size) return -1;
    count *= size;
  }
  return count;
}

TensorView ParseTensor(const json& entry, std::span<const uint8_t> data) {
  TensorView tensor;
  tensor.dtype = entry.at("dtype").get<std::string>();
  tensor.shape = entry.at("shape").get<std::vector<int64_t>>();
  const auto offsets = entry.at("data_offsets").get<std::vector<uint64_t>>();
  const int64_t element = ElementBytes(tensor.dtype);
  if (element == 0) throw std::invalid_argument("unknown dtype " + tensor.dtype);
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size()) {
    throw std::invalid_argument("data_offsets outside the file");
  }
  tensor.data = data.data() + offsets[0];
  tensor.bytes = static_cast<int64_t>(offsets[1] - offsets[0]);
  const int64_t count = CountElements(tensor.shape, static_cast<int64_t>(data.size()));
  if (count < 0 || count * element != tensor.bytes)
    throw std::invalid_argument("shape does not fit data_offsets");
  return tensor;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path, ErrorCode on_error) : file_(Map(path, on_error)) {
  const auto bytes = file_.bytes();
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes))
    throw Error(on_error, path + ": shorter than a safetensors header");
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - sizeof(header_bytes)) {
    throw Error(on_error, path + ": the safetensors header is longer than the file");
  }
  const auto text = bytes.subspan(sizeof(header_bytes), header_bytes);
  const auto data = bytes.subspan(sizeof(header_bytes) + header_bytes);
  const json header = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) throw Error(on_error, path + ": the safetensors header is not a JSON object");
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    try {
      tensors_.emplace(name, ParseTensor(entry, data));
    } catch (const std::exception& error) {
      throw Error(on_error, path + ": tensor " + name + ": " + error.what());
    }
  }
}

}  // namespace kvcapsule
