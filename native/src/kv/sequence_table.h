// Which segments every running sequence is made of, changed by the deltas of a step plan.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <variant>
#include <vector>

#include "kv/pool.h"
#include "kv/profile.h"

namespace kvcapsule {

// Raw rows in whole blocks; only the last block of the segment may be partly filled.
struct RawSegment {
  std::vector<int32_t> blocks;
  int32_t tokens = 0;
};

// n covered tokens as m rows a layer, part and head, laid over pages by the capsule codec.
struct CapsuleSegment {
  std::shared_ptr<const CapsuleProfile> profile;
  std::vector<int32_t> pages;
};

using Segment = std::variant<RawSegment, CapsuleSegment>;

struct Sequence {
  std::vector<Segment> segments;
};

// Deltas are a stream of int32: opcode, slot, argument count, arguments.
enum class PageOp : int32_t {
  kOpen = 1,     // a new empty sequence in this slot
  kClose = 2,    // forget the slot; its pages may be given away at once
  kSegment = 3,  // begin a raw segment at the end
  kBlocks = 4,   // [segment, block...]: append blocks to that raw segment
  // [segment, profile, nPages, page..., nBlocks, block..., nRest, restRow...]: encode the raw segment's
  // rows that are not in restRows (ascending row numbers of the segment; the others must be exactly the
  // profile's n) into the pages, copy the rest rows into the blocks, and put [capsule, raw rest] in the
  // segment's place (no raw segment when nRest = 0). The old blocks are free afterwards.
  kCompress = 5,
};

class SequenceTable {
 public:
  SequenceTable(KvPool* pool, int32_t max_slots);

  // Checks everything (slots, segment kinds, block and page ranges, counts) before changing anything;
  // throws Error(kPlanInvalid) naming the op. Runs compressions through the capsule codec.
  // profiles: index -> profile as used by kCompress.
  void Apply(std::span<const int32_t> ops, std::span<const std::shared_ptr<const CapsuleProfile>> profiles);

  const Sequence& at(int32_t slot) const;
  Sequence& at(int32_t slot);
  bool contains(int32_t slot) const;

 private:
  KvPool* pool_;
  int32_t max_slots_;
  std::unordered_map<int32_t, Sequence> sequences_;
};

}  // namespace kvcapsule
