// Which segments every running sequence is made of, changed by the deltas of a step plan.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>

#include "kv/codec/format.h"
#include "kv/pool.h"
#include "kv/segments.h"

namespace kvcapsule {

// Deltas are a stream of int32: opcode, slot, argument count, arguments.
enum class PageOp : int32_t {
  kOpen = 1,     // a new empty sequence in this slot
  kClose = 2,    // forget the slot; its pages may be given away at once
  kSegment = 3,  // begin a raw segment at the end
  kBlocks = 4,   // [segment, block...]: append blocks to that raw segment
  // [segment, format, nPages, page..., nBlocks, block..., nRest, restRow...]: encode the rows of a segment that
  // is raw, or stored in a format for any number of rows, but for restRows (ascending row numbers of the
  // segment; the others must be as many as the format covers) into the pages, copy the rest rows into the
  // blocks as raw ones, and put [stored span, raw rest] in the segment's place (no raw segment when nRest = 0). The
  // old pages are free afterwards. The span's position is the number of tokens in the segments before it.
  kCompress = 5,
  // [segment, tokens, block...]: append blocks that hold `tokens` rows already (another sequence wrote them);
  // only the last one may be partly filled. The segment is raw and full up to here, so that rows stay dense.
  kAttachBlocks = 6,
  // [format, tokens, page...]: append a span that was encoded at this very position of a sequence, that is
  // after as many tokens as the segments hold now.
  kAttachStored = 7,
  // Slot -1; [from, to]: copy a block's bytes, for a sequence that goes on in a block which others share.
  kCopyBlock = 8,
  // [segment, tokens]: cut a raw segment in two. The first one keeps `tokens` tokens, whole blocks and at least one;
  // the second one gets the other blocks, at least one, and goes on as the segment was to. No byte moves.
  kSplit = 9,
};

class SequenceTable {
 public:
  SequenceTable(KvPool* pool, int32_t max_slots);

  // Checks everything (slots, segment kinds, block and page ranges, counts) before changing anything;
  // throws Error(kPlanInvalid) naming the op. Compressions and copies run in the order of the plan. Who
  // shares which page is not known here: that is the caller's to keep.
  // formats: index -> format as used by kCompress. run: how a compression's tasks are run.
  void Apply(std::span<const int32_t> ops, std::span<const std::shared_ptr<const KvFormat>> formats,
             const RunTasks& run = RunInTurn);

  const Sequence& at(int32_t slot) const;
  Sequence& at(int32_t slot);
  bool contains(int32_t slot) const;

 private:
  KvPool* pool_;
  int32_t max_slots_;
  std::unordered_map<int32_t, Sequence> sequences_;
};

}  // namespace kvcapsule
