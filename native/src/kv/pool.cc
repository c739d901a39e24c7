#include "kv/pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

int64_t CheckedBytes(const KvGeometry& geometry, int64_t blocks) {
  const auto in_range = [](int32_t value, int32_t limit) { return value > 0 && value <= limit; };
  if (!in_range(geometry.layers, 4096) || !in_range(geometry.kv_heads, 4096) ||
      !in_range(geometry.head_dim, 4096)) {
    throw Error(ErrorCode::kConfigInvalid, "KV geometry is out of range: " + std::to_string(geometry.layers) +
                                               " layers, " + std::to_string(geometry.kv_heads) +
                                               " KV heads of " + std::to_string(geometry.head_dim));
  }
  // Block numbers travel as int32 and page numbers are eight times as large.
  if (blocks <= 0 || blocks > INT32_MAX / KvGeometry::kPagesPerBlock) {
    throw Error(ErrorCode::kConfigInvalid,
                "KV pool of " + std::to_string(blocks) + " blocks is out of range");
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(geometry.BlockBytes(), blocks, &bytes) ||
      __builtin_add_overflow(bytes, kOverRead, &bytes)) {
    throw Error(ErrorCode::kConfigInvalid,
                "KV pool of " + std::to_string(blocks) + " blocks passes the address space");
  }
  return bytes;
}

}  // namespace

void KvPool::Unmap::operator()(uint8_t* data) const { munmap(data, static_cast<size_t>(bytes)); }

KvPool::KvPool(const KvGeometry& geometry, int64_t blocks)
    : geometry_(geometry), blocks_(blocks), data_(nullptr, Unmap{CheckedBytes(geometry, blocks)}) {
  const auto bytes = static_cast<size_t>(data_.get_deleter().bytes);
  void* data =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    throw Error(ErrorCode::kConfigInvalid,
                "cannot reserve a KV pool of " + std::to_string(bytes) + " bytes: " + std::strerror(errno));
  }
  data_.reset(static_cast<uint8_t*>(data));
  // Advice only: a head's tiles lie a block apart, so small pages cost a TLB miss a tile.
  madvise(data, bytes, MADV_HUGEPAGE);
}

uint8_t* KvPool::Tile(int64_t block, int32_t layer, KvPart part, int32_t kv_head) const {
  return data_.get() + block * geometry_.BlockBytes() + geometry_.TileOffset(layer, part, kv_head);
}

uint8_t* KvPool::Page(int64_t page) const { return data_.get() + page * geometry_.PageBytes(); }

void KvPool::CheckPages(std::span<const int32_t> pages, size_t bytes) const {
  for (const int32_t page : pages) {
    if (page < 0 || page >= blocks_ * KvGeometry::kPagesPerBlock)
      throw Error(ErrorCode::kPlanInvalid, "page " + std::to_string(page) + " is out of range");
  }
  if (bytes != pages.size() * static_cast<size_t>(geometry_.PageBytes()))
    throw Error(ErrorCode::kPlanInvalid, "not as many bytes as the pages hold");
}

void KvPool::ReadPages(std::span<const int32_t> pages, std::span<uint8_t> out) const {
  CheckPages(pages, out.size());
  const auto page_bytes = static_cast<size_t>(geometry_.PageBytes());
  for (size_t i = 0; i < pages.size(); ++i) std::memcpy(&out[i * page_bytes], Page(pages[i]), page_bytes);
}

void KvPool::WritePages(std::span<const int32_t> pages, std::span<const uint8_t> bytes) {
  CheckPages(pages, bytes.size());
  std::vector<int32_t> sorted(pages.begin(), pages.end());
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    throw Error(ErrorCode::kPlanInvalid, "a page is written twice");
  const auto page_bytes = static_cast<size_t>(geometry_.PageBytes());
  for (size_t i = 0; i < pages.size(); ++i) std::memcpy(Page(pages[i]), &bytes[i * page_bytes], page_bytes);
}

}  // namespace kvcapsule
