// One way to store rows of keys and values in pages. The engine lists its formats; page ops name them by
// number. A codec is a folder beside this file, and all of them run test/format_conformance_test.cc.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kv/pool.h"
#include "kv/segments.h"

namespace kvcapsule {

// First bytes of the first page, in a slot of kSlotBytes whose rest is zero. Fields are only appended, into
// that rest; a reader passes over what it does not know. What it must not pass over gets a new version.
struct CapsuleHeader {
  char magic[8] = {'K', 'V', 'C', 'A', 'P', 'S', 'U', 'L'};
  uint32_t version = kVersion;
  uint32_t field_bytes = 0;  // of the slot in use
  uint32_t codec = 0;        // CodecNumber of the format
  uint32_t dtype = 0;        // of the pool that was encoded from
  int32_t tokens = 0;
  int32_t position = 0;
  uint64_t profile_hash = 0;  // FNV-1a of the profile's id
  float bit_price = 0;        // of packed rows whose bits are chosen for each picture
  uint32_t unused = 0;        // no padding: equal headers have equal bytes

  static constexpr uint32_t kVersion = 2;
  static constexpr int64_t kSlotBytes = 64;
};

struct FormatInfo {
  std::string codec;                 // "q8", "capsule-mixed", ...
  std::string profile_id;            // empty where there is no profile
  int32_t tokens = 0;                // rows covered, n; 0: any number
  std::vector<int32_t> marker_rows;  // rows of the span that are markers and covered; ascending
  int64_t header_bytes = CapsuleHeader::kSlotBytes;
  int64_t bytes_per_token = 0;  // 0 where tokens is fixed
  // Multiply-adds of attention for a query row over such a capsule, as a share of raw rows' 2 * tokens * head_dim:
  // what is the least for its form, for a picture like the mean one.
  double macs_share = 1;
};

// Numbers in headers; never given to another layout.
enum class CodecNumber : uint32_t { kRows = 0, kQ8 = 1, kQ4 = 2, kPacked = 3 };

// Bytes laid over a capsule's pages. A run of 8 pages is as long as a block and consecutive in memory.
class PagedBytes {
 public:
  PagedBytes(const KvPool& pool, std::span<const int32_t> pages) : pool_(pool), pages_(pages) {}

  // `bytes` bytes from `offset` on: in place where they lie consecutively, else gathered in scratch. kOverRead more
  // may be read.
  const uint8_t* Read(int64_t offset, int64_t bytes, std::vector<uint8_t>& scratch) const;
  // Where each of `rows` rows of row_bytes from `offset` on begins: in place, but for those that cross from one run
  // of pages to another, which are gathered in scratch.
  void ReadRows(int64_t offset, int64_t row_bytes, std::span<const uint8_t*> rows,
                std::vector<uint8_t>& scratch) const;
  void Write(int64_t offset, const void* from, int64_t bytes) const;

 private:
  // Calls visit(address, bytes) for each consecutive piece.
  template <class Visit>
  void VisitPieces(int64_t offset, int64_t bytes, Visit visit) const;

  const KvPool& pool_;
  std::span<const int32_t> pages_;
};

// Runs task(0) .. task(count - 1), in any order, perhaps at once; returns when all have ended.
using RunTasks = std::function<void(int32_t count, const std::function<void(int32_t)>& task)>;
void RunInTurn(int32_t count, const std::function<void(int32_t)>& task);

class KvFormat {
 public:
  KvFormat(const KvGeometry& geometry, CodecNumber number, FormatInfo info);
  virtual ~KvFormat() = default;
  KvFormat(const KvFormat&) = delete;
  KvFormat& operator=(const KvFormat&) = delete;

  const FormatInfo& info() const { return info_; }
  const KvGeometry& geometry() const { return geometry_; }

  // Known before encoding; `tokens` must be one that the format covers.
  int64_t Bytes(int32_t tokens) const { return info_.header_bytes + PayloadBytes(tokens); }
  int32_t Pages(int32_t tokens) const;
  bool Covers(int32_t tokens) const { return info_.tokens == 0 ? tokens > 0 : tokens == info_.tokens; }
  // What it keeps beside the pages, for all its capsules: bases and templates.
  virtual int64_t MemoryBytes() const { return 0; }

  // Encodes the covered rows (ascending row numbers of the raw segment, target.tokens of them) into the
  // target's pages. The bytes do not depend on how tasks are run. Throws Error(kPlanInvalid) when the counts
  // do not fit.
  void Encode(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
              const CapsuleSegment& target, const RunTasks& run = RunInTurn) const;

  // Reconstructs all rows of one part, [tokens][head_dim] float, by plain loops: the oracle of attention.
  virtual void Decode(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                      int32_t kv_head, float* out) const = 0;

  // Throws Error(kCapsuleInvalid) unless the pages begin with a header of this format that this version
  // reads, for as many tokens. For pages that come from elsewhere.
  void CheckHeader(const KvPool& pool, const CapsuleSegment& segment) const;

 protected:
  virtual int64_t PayloadBytes(int32_t tokens) const = 0;
  virtual void EncodeRows(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                          const CapsuleSegment& target, const RunTasks& run) const = 0;
  void SetMacsShare(double share) { info_.macs_share = share; }
  // Writes the header slot; what else header_bytes counts is the format's own.
  void WriteHeader(const KvPool& pool, const CapsuleSegment& target, float bit_price = 0) const;

 private:
  const KvGeometry geometry_;
  const CodecNumber number_;
  FormatInfo info_;
};

// Row `row` of a raw segment as stored, RowBytes() bytes.
const uint8_t* RawRow(const KvPool& pool, const RawSegment& segment, int32_t layer, KvPart part,
                      int32_t kv_head, int32_t row);

// All rows of a segment, [layers][K,V][kv heads][tokens][head_dim] float; of a capsule as its format decodes
// them.
std::vector<float> ReadSegmentRows(const KvPool& pool, const Segment& segment);

// A format that encodes each (layer, KV head) apart from all others.
class HeadwiseFormat : public KvFormat {
 public:
  using KvFormat::KvFormat;

 protected:
  virtual void EncodeHead(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                          const CapsuleSegment& target, int32_t layer, int32_t kv_head) const = 0;
  void EncodeRows(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                  const CapsuleSegment& target, const RunTasks& run) const final;
};

// A format whose rows can be had in any range without the others: what attention reads panel by panel.
class RowFormat : public HeadwiseFormat {
 public:
  using HeadwiseFormat::HeadwiseFormat;
  // `count` rows from `first` on to float rows `stride` apart; only the first head_dim floats are written.
  virtual void ReadRows(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                        int32_t kv_head, int32_t first, int32_t count, float* out, int64_t stride) const = 0;
  void Decode(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
              int32_t kv_head, float* out) const final {
    ReadRows(pool, segment, layer, part, kv_head, 0, segment.tokens, out, geometry().head_dim);
  }

  // Where the rows of (layer, part, KV head) begin; each of the 2 * layers * kv_heads units is as long.
  int64_t UnitOffset(int32_t tokens, int32_t layer, KvPart part, int32_t kv_head) const;

 protected:
  int64_t PayloadBytes(int32_t tokens) const final { return tokens * info().bytes_per_token; }
};

}  // namespace kvcapsule
