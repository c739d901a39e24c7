// Reads safetensors files: an 8-byte header length, a JSON header, the tensors' bytes. Files come from
// outside: every number of the header is checked before it is used.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/mapped_file.h"
#include "kvcapsule/error.h"

namespace kvcapsule {

struct TensorView {
  std::string dtype;           // "F32", "BF16", ...
  std::vector<int64_t> shape;  // outermost first
  const uint8_t* data = nullptr;
  int64_t bytes = 0;
};

class SafetensorsFile {
 public:
  // Throws Error(on_error) naming the file and the tensor at fault.
  SafetensorsFile(const std::string& path, ErrorCode on_error);

  const std::map<std::string, TensorView>& tensors() const { return tensors_; }

 private:
  MappedFile file_;
  std::map<std::string, TensorView> tensors_;
};

}  // namespace kvcapsule
