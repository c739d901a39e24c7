// Widths that scratch is laid out for, whatever the machine: the widest vector of any target of simd-inl.h.
#pragma once
#include <new>
#include <vector>

namespace kvcapsule {

inline constexpr int kLanes = 16;

inline constexpr int RoundToLanes(int count) { return (count + kLanes - 1) / kLanes * kLanes; }

// Begins at a whole cache line: elsewhere every vector of AVX-512 lies on two, and costs two accesses.
template <class T>
struct AlignedAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>& /*other*/) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kAlignment)); }
  void deallocate(T* data, size_t /*count*/) { ::operator delete(data, kAlignment); }
  bool operator==(const AlignedAllocator& /*other*/) const { return true; }
};
template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace kvcapsule
