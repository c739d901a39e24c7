// Widths that scratch is laid out for, whatever the machine: the widest vector of any target of simd-inl.h.
#pragma once

namespace kvcapsule {

inline constexpr int kLanes = 16;

inline constexpr int RoundToLanes(int count) { return (count + kLanes - 1) / kLanes * kLanes; }

}  // namespace kvcapsule
