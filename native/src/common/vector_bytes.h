// What containers hold, for what is said about memory.
#pragma once
#include <cstdint>
#include <vector>

namespace kvcapsule {

// Of the elements alone, not of what they point to.
template <class T, class Allocator>
int64_t VectorBytes(const std::vector<T, Allocator>& vector) {
  return static_cast<int64_t>(vector.capacity() * sizeof(T));
}

template <class... Vectors>
int64_t VectorsBytes(const Vectors&... vectors) {
  return (int64_t{0} + ... + VectorBytes(vectors));
}

}  // namespace kvcapsule
