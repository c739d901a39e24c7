// A whole file mapped for reading.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace kvcapsule {

class MappedFile {
 public:
  // Throws std::system_error naming the path.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// Lets go of the whole pages of a range of a mapped file that has been read: they leave the process' memory and are
// read again when touched.
void ForgetPages(std::span<const uint8_t> range);

}  // namespace kvcapsule
