// A profile file: safetensors whose __metadata__ names the format kvcapsule-profile and its version. Comes
// from outside: every number of the header is checked before a tensor is touched.
#pragma once
#include <cstdint>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace kvcapsule {

using ProfileMetadata = std::vector<std::pair<std::string, std::string>>;

// Tensors are taken by name; what is left over in the end is a fault. All errors are Error(kProfileInvalid)
// and name the file.
class ProfileReader {
 public:
  explicit ProfileReader(const std::string& path);

  [[noreturn]] void Fail(const std::string& why) const;
  // Text of the metadata; a missing or empty one is an error, or gives `fallback`.
  std::string Text(const char* key) const;
  std::string Text(const char* key, const char* fallback) const;
  // A whole number between least and most.
  int32_t Integer(const char* key, int32_t least, int32_t most) const;

  bool Has(const std::string& name) const { return tensors_.contains(name); }
  // Extents of a tensor; fails when there is none.
  const std::vector<uint64_t>& Shape(const std::string& name) const;
  // F32 or F16 as float; values that are not finite are an error.
  std::vector<float> Floats(const std::string& name, const std::vector<uint64_t>& shape);
  std::vector<int32_t> Integers(const std::string& name, const std::vector<uint64_t>& shape);  // I32
  std::vector<uint8_t> Bytes(const std::string& name, const std::vector<uint64_t>& shape);     // U8
  // Fails when tensors are left that nobody took.
  void End() const;

  // The file's name and a hash of everything that was read, for messages and headers.
  std::string Id() const;

 private:
  struct Tensor {
    std::string dtype;
    std::vector<uint64_t> shape;
    uint64_t begin = 0, end = 0;
  };

  void Open();
  void ReadBytes(void* to, uint64_t bytes);
  nlohmann::json ReadHeader();
  Tensor ReadEntry(const std::string& name, const nlohmann::json& entry) const;
  // Tensors must lie end to end over the whole data part: no overlaps, no holes, nothing hidden.
  void ReadTable(const nlohmann::json& header);
  Tensor Take(const std::string& name, const char* dtype, const std::vector<uint64_t>& shape);
  template <class Element>
  std::vector<Element> ReadTensor(const Tensor& tensor);

  const std::string path_;
  std::ifstream file_;
  uint64_t file_bytes_ = 0;
  uint64_t data_start_ = 0;
  uint64_t hash_ = 14695981039346656037ULL;  // FNV-1a of everything read
  nlohmann::json metadata_;
  std::map<std::string, Tensor> tensors_;
};

// Collects tensors end to end; the header is written first, then the same bytes in the same order. Values
// must stay where they are until WriteTo, those of AddHalf and AddOwned excepted.
class ProfileWriter {
 public:
  void Add(const std::string& name, const std::vector<int32_t>& shape, const std::vector<float>& values);
  void Add(const std::string& name, const std::vector<int32_t>& shape, const std::vector<int32_t>& values);
  void Add(const std::string& name, const std::vector<int32_t>& shape, const std::vector<uint8_t>& values);
  void AddHalf(const std::string& name, const std::vector<int32_t>& shape, const std::vector<float>& values);
  // A short list that need not outlive the call.
  void AddOwned(const std::string& name, const std::vector<float>& values);
  // Written beside and renamed, so that a reader never sees half a profile. Throws Error(kProfileInvalid)
  // when it cannot be, or when the metadata lack a model_revision.
  void WriteTo(const std::string& path, const char* version, const ProfileMetadata& metadata);

 private:
  void AddBytes(const std::string& name, const char* dtype, const std::vector<int32_t>& shape,
                const void* data, uint64_t bytes);

  nlohmann::json header_;
  std::vector<std::pair<const char*, uint64_t>> parts_;
  std::vector<std::vector<uint8_t>> owned_;
  uint64_t end_ = 0;
};

// Name of a tensor of one layer and KV head.
std::string HeadTensor(int32_t layer, int32_t kv_head, const std::string& what);

}  // namespace kvcapsule
