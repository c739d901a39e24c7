// Fitted formats in the form that the attention kernels read: made once a format.
#pragma once
#include <memory>
#include <unordered_map>
#include <vector>

#include "attention/kernels.h"
#include "kv/codec/format.h"
#include "kv/codec/packed/packed_format.h"

namespace kvcapsule {

class CapsuleOperators {
 public:
  // Made at the first call for a format and kept with it; not for two threads at once. False: the format has no
  // operator that kernels know.
  bool Prepare(const std::shared_ptr<const KvFormat>& format);
  // Of a format that has been prepared.
  const CapsuleOperator& At(const KvFormat& format, int32_t layer, int32_t kv_head) const {
    return of_.at(&format).heads[layer * format.geometry().kv_heads + kv_head];
  }
  // CapsuleVisit::turn for capsules of a packed format at `position`; nullptr: nothing to turn. Made at the first
  // call and kept; not for two threads at once.
  const float* Turn(const PackedFormat& format, int32_t position);
  // Of the operators of all formats that have been prepared, with the turns of so many positions.
  int64_t MemoryBytes(int32_t positions) const;

 private:
  struct Prepared {
    std::shared_ptr<const KvFormat> format;
    std::vector<CapsuleOperator> heads;  // [layers * kv_heads], layer-major; none: no kernel
    std::unordered_map<int32_t, AlignedVector<float>> turns;  // by position
  };
  std::unordered_map<const KvFormat*, Prepared> of_;
};

}  // namespace kvcapsule
