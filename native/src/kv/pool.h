// The one paged pool: raw blocks and capsule pages side by side.
#pragma once
#include <cstdint>
#include <memory>
#include <span>

#include "kvcapsule/kv_geometry.h"

namespace kvcapsule {

// Owns the bytes; which page holds what is decided by the caller (the worker's `paging`).
// Bytes after what was asked for that may be read, so that kernels load whole vectors.
inline constexpr int64_t kOverRead = 64;

class KvPool {
 public:
  // Reserves blocks * geometry.BlockBytes() bytes, 64-byte aligned, touched lazily.
  KvPool(const KvGeometry& geometry, int64_t blocks);

  const KvGeometry& geometry() const { return geometry_; }
  int64_t blocks() const { return blocks_; }

  // [16][head_dim] rows of the geometry's dtype. Unchecked: plans are validated when they arrive.
  uint8_t* Tile(int64_t block, int32_t layer, KvPart part, int32_t kv_head) const;
  // PageBytes() bytes, and kOverRead more may be read. Consecutive page numbers are consecutive in memory.
  uint8_t* Page(int64_t page) const;

  // Bytes of whole pages in the order named, for moving them to another memory and back: out and bytes are
  // pages.size() * PageBytes() long. A page out of range, a page written twice or another length throws
  // Error(kPlanInvalid), and nothing has been written then.
  void ReadPages(std::span<const int32_t> pages, std::span<uint8_t> out) const;
  void WritePages(std::span<const int32_t> pages, std::span<const uint8_t> bytes);

 private:
  struct Unmap {
    int64_t bytes;
    void operator()(uint8_t* data) const;
  };
  void CheckPages(std::span<const int32_t> pages, size_t bytes) const;

  KvGeometry geometry_;
  int64_t blocks_;
  std::unique_ptr<uint8_t, Unmap> data_;
};

}  // namespace kvcapsule
