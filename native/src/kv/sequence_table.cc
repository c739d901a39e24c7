#include "kv/sequence_table.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "common/half.h"
#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

using Formats = std::span<const std::shared_ptr<const KvFormat>>;

// A compression that has been checked and waits for the whole plan to be.
struct CompressJob {
  Segment source;
  std::vector<int32_t> covered;
  std::vector<int32_t> rest;
  CapsuleSegment capsule;
  RawSegment rest_segment;
};

struct CopyJob {
  int32_t from, to;  // blocks
};

using Job = std::variant<CompressJob, CopyJob>;

// One operation of the stream and where it is, for messages.
struct Op {
  int32_t index;
  int32_t code;
  int32_t slot;
  std::span<const int32_t> arguments;

  [[noreturn]] void Fail(const std::string& why) const {
    throw Error(ErrorCode::kPlanInvalid, "page op " + std::to_string(index) + " (code " +
                                             std::to_string(code) + ", slot " + std::to_string(slot) +
                                             "): " + why);
  }
  void Require(bool holds, const char* why) const {
    if (!holds) Fail(why);
  }
};

// Takes arguments from the front, checking that they are there.
class ArgumentReader {
 public:
  explicit ArgumentReader(const Op& op) : op_(op), left_(op.arguments) {}
  int32_t Next() {
    op_.Require(!left_.empty(), "too few arguments");
    const int32_t value = left_.front();
    left_ = left_.subspan(1);
    return value;
  }
  std::span<const int32_t> NextList() {
    const int32_t count = Next();
    op_.Require(count >= 0 && static_cast<size_t>(count) <= left_.size(),
                "a list is longer than the arguments");
    const auto list = left_.first(count);
    left_ = left_.subspan(count);
    return list;
  }
  std::span<const int32_t> Rest() { return std::exchange(left_, {}); }
  void End() const { op_.Require(left_.empty(), "too many arguments"); }

 private:
  const Op& op_;
  std::span<const int32_t> left_;
};

// True when some number occurs twice.
bool HasRepeats(std::vector<int32_t> numbers) {
  std::sort(numbers.begin(), numbers.end());
  return std::adjacent_find(numbers.begin(), numbers.end()) != numbers.end();
}

// Runs a plan on copies of the sequences it touches; the table takes them when every op has passed.
class Staging {
 public:
  Staging(const KvPool& pool, int32_t max_slots, const std::unordered_map<int32_t, Sequence>& sequences)
      : pool_(pool), max_slots_(max_slots), sequences_(sequences) {}

  void Run(const Op& op, Formats formats) {
    const bool names_slot = static_cast<PageOp>(op.code) != PageOp::kCopyBlock;
    op.Require(names_slot ? op.slot >= 0 && op.slot < max_slots_ : op.slot == -1, "the slot is out of range");
    switch (static_cast<PageOp>(op.code)) {
      case PageOp::kOpen: return Open(op);
      case PageOp::kClose: return Close(op);
      case PageOp::kSegment: return BeginSegment(op);
      case PageOp::kBlocks: return AppendBlocks(op);
      case PageOp::kCompress: return Compress(op, formats);
      case PageOp::kAttachBlocks: return AttachBlocks(op);
      case PageOp::kAttachStored: return AttachStored(op, formats);
      case PageOp::kCopyBlock: return CopyBlock(op);
      case PageOp::kSplit: return Split(op);
    }
    op.Fail("unknown operation");
  }

  const std::vector<Job>& jobs() const { return jobs_; }

  void CommitTo(std::unordered_map<int32_t, Sequence>& sequences) {
    sequences.reserve(sequences.size() + staged_.size());
    for (auto& [slot, sequence] : staged_) {
      if (sequence) {
        sequences.insert_or_assign(slot, std::move(*sequence));
      } else {
        sequences.erase(slot);
      }
    }
  }

 private:
  std::optional<Sequence>& Stage(int32_t slot) {
    auto found = staged_.find(slot);
    if (found == staged_.end()) {
      const auto live = sequences_.find(slot);
      found =
          staged_.emplace(slot, live == sequences_.end() ? std::nullopt : std::optional(live->second)).first;
    }
    return found->second;
  }

  Sequence& Staged(const Op& op) {
    auto& sequence = Stage(op.slot);
    op.Require(sequence.has_value(), "the slot is not open");
    return *sequence;
  }

  static Segment& At(const Op& op, Sequence& sequence, int32_t segment) {
    op.Require(segment >= 0 && static_cast<size_t>(segment) < sequence.segments.size(), "no such segment");
    return sequence.segments[segment];
  }

  static RawSegment& Raw(const Op& op, Sequence& sequence, int32_t segment) {
    auto* raw = std::get_if<RawSegment>(&At(op, sequence, segment));
    op.Require(raw != nullptr, "the segment is not raw");
    return *raw;
  }

  void Open(const Op& op) {
    op.Require(op.arguments.empty(), "too many arguments");
    auto& sequence = Stage(op.slot);
    op.Require(!sequence.has_value(), "the slot is open already");
    sequence.emplace();
  }

  void Close(const Op& op) {
    op.Require(op.arguments.empty(), "too many arguments");
    Staged(op);
    Stage(op.slot).reset();
  }

  void BeginSegment(const Op& op) {
    op.Require(op.arguments.empty(), "too many arguments");
    Staged(op).segments.emplace_back(RawSegment{});
  }

  void CheckBlocks(const Op& op, std::span<const int32_t> blocks) const {
    for (const int32_t block : blocks)
      op.Require(block >= 0 && block < pool_.blocks(), "a block is out of range");
  }

  void AppendBlocks(const Op& op) {
    ArgumentReader reader(op);
    auto& raw = Raw(op, Staged(op), reader.Next());
    const auto blocks = reader.Rest();
    CheckBlocks(op, blocks);
    raw.blocks.insert(raw.blocks.end(), blocks.begin(), blocks.end());
    op.Require(!HasRepeats(raw.blocks), "a block occurs twice in the segment");
  }

  void AttachBlocks(const Op& op) {
    ArgumentReader reader(op);
    auto& raw = Raw(op, Staged(op), reader.Next());
    const int32_t tokens = reader.Next();
    const auto blocks = reader.Rest();
    CheckBlocks(op, blocks);
    constexpr int64_t kTokens = KvGeometry::kBlockTokens;
    op.Require(tokens > 0 && (tokens + kTokens - 1) / kTokens == static_cast<int64_t>(blocks.size()),
               "not as many blocks as the tokens take");
    op.Require(static_cast<int64_t>(raw.blocks.size()) * kTokens == raw.tokens,
               "the segment's last block has room left");
    op.Require(int64_t{raw.tokens} + tokens <= INT32_MAX, "the segment has too many tokens");
    raw.blocks.insert(raw.blocks.end(), blocks.begin(), blocks.end());
    op.Require(!HasRepeats(raw.blocks), "a block occurs twice in the segment");
    raw.tokens += tokens;
  }

  void AttachStored(const Op& op, Formats formats) {
    auto& sequence = Staged(op);
    ArgumentReader reader(op);
    const auto& format = Format(op, reader.Next(), formats);
    const int32_t tokens = reader.Next();
    op.Require(format->Covers(tokens), "the tokens are not the format's number");
    const auto pages = reader.Rest();
    CheckCapsule(op, *format, tokens, pages);
    op.Require(!HasRepeats({pages.begin(), pages.end()}), "a page is named twice");
    const int32_t position = TokensBefore(sequence, static_cast<int32_t>(sequence.segments.size()));
    sequence.segments.emplace_back(CapsuleSegment{format, {pages.begin(), pages.end()}, tokens, position});
  }

  void CopyBlock(const Op& op) {
    ArgumentReader reader(op);
    const CopyJob job{reader.Next(), reader.Next()};
    reader.End();
    CheckBlocks(op, op.arguments);
    op.Require(job.from != job.to, "a block is copied onto itself");
    jobs_.emplace_back(job);
  }

  void Split(const Op& op) {
    auto& sequence = Staged(op);
    ArgumentReader reader(op);
    const int32_t segment = reader.Next();
    RawSegment& raw = Raw(op, sequence, segment);
    const int32_t tokens = reader.Next();
    reader.End();
    constexpr int32_t kTokens = KvGeometry::kBlockTokens;
    op.Require(tokens > 0 && tokens % kTokens == 0, "a segment is cut at a block's edge only");
    op.Require(tokens <= raw.tokens && tokens / kTokens < static_cast<int64_t>(raw.blocks.size()),
               "the segment ends before the cut");
    const auto cut = raw.blocks.begin() + tokens / kTokens;
    RawSegment rest{{cut, raw.blocks.end()}, raw.tokens - tokens};
    raw.blocks.erase(cut, raw.blocks.end());
    raw.tokens = tokens;
    sequence.segments.insert(sequence.segments.begin() + segment + 1, std::move(rest));
  }

  static const std::shared_ptr<const KvFormat>& Format(const Op& op, int32_t number, Formats formats) {
    op.Require(number >= 0 && static_cast<size_t>(number) < formats.size() && formats[number],
               "no such format");
    return formats[number];
  }

  void Compress(const Op& op, Formats formats) {
    auto& sequence = Staged(op);
    ArgumentReader reader(op);
    const int32_t segment = reader.Next();
    const Segment& source = At(op, sequence, segment);
    const auto* stored = std::get_if<CapsuleSegment>(&source);
    op.Require(!stored || stored->format->info().tokens == 0, "the segment is fitted, not rows");
    const int32_t tokens = std::visit([](const auto& each) { return each.tokens; }, source);
    const auto& format = Format(op, reader.Next(), formats);
    const auto pages = reader.NextList();
    const auto blocks = reader.NextList();
    const auto rest = reader.NextList();
    reader.End();
    CheckRest(op, source, tokens, blocks, rest);
    const int32_t covered = tokens - static_cast<int32_t>(rest.size());
    op.Require(format->Covers(covered), "the covered rows are not the format's number");
    CheckCapsule(op, *format, covered, pages);
    CheckTargets(op, source, pages, blocks);

    CompressJob job{
        source,
        {},
        {rest.begin(), rest.end()},
        {format, {pages.begin(), pages.end()}, covered, TokensBefore(sequence, segment)},
        {{blocks.begin(), blocks.end()}, static_cast<int32_t>(rest.size())}};
    for (int32_t row = 0; row < tokens; ++row) {
      if (!std::binary_search(rest.begin(), rest.end(), row)) job.covered.push_back(row);
    }
    const auto at = sequence.segments.begin() + segment;
    *at = job.capsule;
    if (!rest.empty()) sequence.segments.insert(at + 1, job.rest_segment);
    jobs_.push_back(std::move(job));
  }

  void CheckCapsule(const Op& op, const KvFormat& format, int32_t tokens,
                    std::span<const int32_t> pages) const {
    op.Require(format.geometry() == pool_.geometry(), "the format is for another geometry");
    op.Require(static_cast<int64_t>(pages.size()) == format.Pages(tokens),
               "not as many pages as the capsule takes");
    constexpr int32_t kPages = KvGeometry::kPagesPerBlock;
    for (size_t i = 0; i < pages.size(); ++i) {
      op.Require(pages[i] >= 0 && pages[i] < pool_.blocks() * kPages, "a page is out of range");
      const bool starts_run = i % kPages == 0;
      op.Require(starts_run || pages[i] == pages[i - 1] + 1, "the pages of a run are not consecutive");
      op.Require(starts_run || pages[i] % kPages != 0, "a run of pages crosses into the next block");
    }
  }

  void CheckRest(const Op& op, const Segment& source, int32_t tokens, std::span<const int32_t> blocks,
                 std::span<const int32_t> rest) const {
    for (size_t i = 0; i < rest.size(); ++i) {
      op.Require(rest[i] >= 0 && rest[i] < tokens, "a rest row is out of range");
      op.Require(i == 0 || rest[i] > rest[i - 1], "rest rows are not ascending");
    }
    constexpr size_t kTokens = KvGeometry::kBlockTokens;
    const auto* raw = std::get_if<RawSegment>(&source);
    op.Require(!raw || static_cast<size_t>(tokens) <= raw->blocks.size() * kTokens,
               "the segment has fewer blocks than its tokens take");
    op.Require(blocks.size() == (rest.size() + kTokens - 1) / kTokens,
               "not as many blocks as the rest rows take");
    CheckBlocks(op, blocks);
  }

  // Encoding reads the old pages while it writes the new ones: nothing may be both, or written twice.
  void CheckTargets(const Op& op, const Segment& source, std::span<const int32_t> pages,
                    std::span<const int32_t> blocks) const {
    std::vector<int32_t> all(pages.begin(), pages.end());
    const auto add = [&all](std::span<const int32_t> more) {
      for (const int32_t block : more) {
        for (int32_t page = 0; page < KvGeometry::kPagesPerBlock; ++page)
          all.push_back(block * KvGeometry::kPagesPerBlock + page);
      }
    };
    add(blocks);
    if (const auto* raw = std::get_if<RawSegment>(&source)) {
      add(raw->blocks);
    } else {
      const auto& stored = std::get<CapsuleSegment>(source).pages;
      all.insert(all.end(), stored.begin(), stored.end());
    }
    op.Require(!HasRepeats(std::move(all)), "a page is both source and target, or named twice");
  }

  const KvPool& pool_;
  const int32_t max_slots_;
  const std::unordered_map<int32_t, Sequence>& sequences_;
  std::unordered_map<int32_t, std::optional<Sequence>> staged_;
  std::vector<Job> jobs_;
};

// Calls visit(layer, part, KV head) for each of a pool's units.
template <class Visit>
void VisitUnits(const KvGeometry& geometry, Visit visit) {
  for (int32_t layer = 0; layer < geometry.layers; ++layer) {
    for (const KvPart part : {KvPart::kKey, KvPart::kValue}) {
      for (int32_t head = 0; head < geometry.kv_heads; ++head) visit(layer, part, head);
    }
  }
}

uint8_t* RowAt(const KvPool& pool, const RawSegment& segment, int32_t layer, KvPart part, int32_t head,
               int32_t row) {
  constexpr int32_t kTokens = KvGeometry::kBlockTokens;
  return pool.Tile(segment.blocks[row / kTokens], layer, part, head) +
         row % kTokens * pool.geometry().RowBytes();
}

void CopyRows(const KvPool& from_pool, const RawSegment& from, const std::vector<int32_t>& rows,
              const KvPool& to_pool, const RawSegment& to) {
  VisitUnits(to_pool.geometry(), [&](int32_t layer, KvPart part, int32_t head) {
    for (int32_t i = 0; i < static_cast<int32_t>(rows.size()); ++i) {
      std::memcpy(RowAt(to_pool, to, layer, part, head, i),
                  RowAt(from_pool, from, layer, part, head, rows[i]), to_pool.geometry().RowBytes());
    }
  });
}

// Stored rows as raw ones, in the blocks [0, n) of another pool.
RawSegment Unpack(const KvPool& pool, const CapsuleSegment& stored, const KvPool& to) {
  const KvGeometry& geometry = pool.geometry();
  constexpr int32_t kTokens = KvGeometry::kBlockTokens;
  RawSegment raw{{}, stored.tokens};
  for (int32_t block = 0; block * kTokens < stored.tokens; ++block) raw.blocks.push_back(block);
  std::vector<float> rows(static_cast<size_t>(stored.tokens) * geometry.head_dim);
  VisitUnits(geometry, [&](int32_t layer, KvPart part, int32_t head) {
    stored.format->Decode(pool, stored, layer, part, head, rows.data());
    for (int32_t row = 0; row < stored.tokens; ++row) {
      FromFloat(geometry.dtype, rows.data() + int64_t{row} * geometry.head_dim, geometry.head_dim,
                RowAt(to, raw, layer, part, head, row));
    }
  });
  return raw;
}

// Formats encode from raw blocks of the pool that they write to: stored rows are unpacked and encoded aside,
// since a pool that is short of pages has none to spare.
void CompressStored(const KvPool& pool, const CompressJob& job, const CapsuleSegment& stored,
                    const RunTasks& run) {
  constexpr int32_t kTokens = KvGeometry::kBlockTokens, kPages = KvGeometry::kPagesPerBlock;
  const auto pages = static_cast<int32_t>(job.capsule.pages.size());
  const int32_t raw_blocks = (stored.tokens + kTokens - 1) / kTokens;
  const KvPool aside(pool.geometry(), raw_blocks + (pages + kPages - 1) / kPages);
  const RawSegment raw = Unpack(pool, stored, aside);
  CapsuleSegment capsule = job.capsule;
  for (int32_t page = 0; page < pages; ++page) capsule.pages[page] = raw_blocks * kPages + page;
  capsule.format->Encode(aside, raw, job.covered, capsule, run);
  for (int32_t page = 0; page < pages; ++page) {
    std::memcpy(pool.Page(job.capsule.pages[page]), aside.Page(capsule.pages[page]),
                pool.geometry().PageBytes());
  }
  CopyRows(aside, raw, job.rest, pool, job.rest_segment);
}

void Run(const KvPool& pool, const Job& job, const RunTasks& run) {
  if (const auto* copy = std::get_if<CopyJob>(&job)) {
    std::memcpy(pool.Page(int64_t{copy->to} * KvGeometry::kPagesPerBlock),
                pool.Page(int64_t{copy->from} * KvGeometry::kPagesPerBlock), pool.geometry().BlockBytes());
    return;
  }
  const auto& compress = std::get<CompressJob>(job);
  if (const auto* stored = std::get_if<CapsuleSegment>(&compress.source)) {
    CompressStored(pool, compress, *stored, run);
    return;
  }
  const auto& raw = std::get<RawSegment>(compress.source);
  compress.capsule.format->Encode(pool, raw, compress.covered, compress.capsule, run);
  CopyRows(pool, raw, compress.rest, pool, compress.rest_segment);
}

}  // namespace

SequenceTable::SequenceTable(KvPool* pool, int32_t max_slots) : pool_(pool), max_slots_(max_slots) {}

void SequenceTable::Apply(std::span<const int32_t> ops, Formats formats,
                          const RunTasks& run) {
  Staging staging(*pool_, max_slots_, sequences_);
  int32_t index = 0;
  while (!ops.empty()) {
    const Op op{index++, ops[0], ops.size() > 1 ? ops[1] : -1, {}};
    op.Require(ops.size() >= 3, "the stream ends inside an op");
    op.Require(ops[2] >= 0 && static_cast<size_t>(ops[2]) <= ops.size() - 3, "the stream ends inside an op");
    staging.Run({op.index, op.code, op.slot, ops.subspan(3, ops[2])}, formats);
    ops = ops.subspan(3 + ops[2]);
  }
  for (const Job& job : staging.jobs()) Run(*pool_, job, run);
  staging.CommitTo(sequences_);
}

const Sequence& SequenceTable::at(int32_t slot) const {
  const auto found = sequences_.find(slot);
  if (found == sequences_.end())
    throw Error(ErrorCode::kPlanInvalid, "slot " + std::to_string(slot) + " is not open");
  return found->second;
}

Sequence& SequenceTable::at(int32_t slot) { return const_cast<Sequence&>(std::as_const(*this).at(slot)); }

bool SequenceTable::contains(int32_t slot) const { return sequences_.contains(slot); }

}  // namespace kvcapsule
