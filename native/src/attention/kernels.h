// Attention of a few stacked query rows over one part of a sequence, for one layer and KV head. Every part gives
// (max, sum, output) by itself; parts are merged in their order, so the result depends neither on who computed
// which part nor on the rows beside a row. One kernel for each target of Highway, chosen at start.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kv/codec/packed/packed_format.h"
#include "kv/pool.h"
#include "kv/simd.h"

namespace kvcapsule {

// Softmax state of `rows` stacked query rows; out is not yet divided by sum. A row that saw nothing has
// max = -infinity and sum = 0.
struct SoftmaxState {
  int32_t rows = 0;
  int32_t dim = 0;        // head_dim
  float* max = nullptr;   // [rows]
  float* sum = nullptr;   // [rows]
  float* out = nullptr;   // [rows][RoundToLanes(dim)]

  static int64_t Floats(int32_t rows, int32_t dim) {
    return static_cast<int64_t>(rows) * (2 + RoundToLanes(dim));
  }
  SoftmaxState Slice(int32_t first, int32_t count) const {
    return {count, dim, max + first, sum + first, out + static_cast<int64_t>(first) * RoundToLanes(dim)};
  }
  // Lays the state over Floats(rows, dim) floats.
  static SoftmaxState At(float* floats, int32_t rows, int32_t dim) {
    return {rows, dim, floats, floats + rows, floats + 2 * static_cast<int64_t>(rows)};
  }
};

// Rows of a packed unit that have bits, one after the other, and where they are among all m. Arrays are padded to whole
// vectors.
struct PackedTable {
  int32_t present = 0;
  AlignedVector<uint8_t> present_bits;  // of each vector of the m rows, a bit a row
  AlignedVector<int32_t> before;    // rows present before each vector of the m
  AlignedVector<int32_t> bits;      // [present]
  AlignedVector<float> steps;       // [present] what 1 in a code is worth
  AlignedVector<uint8_t> codes;     // [present] rows of a byte a channel
};

// Scratch of one thread: grows only, settles at its largest part.
struct AttentionScratch {
  AlignedVector<float> keys, values, weights, shorts;        // the kernels'
  AlignedVector<float> queries, scales, plain;               // of rows: queries, a panel's scales, a panel made float
  AlignedVector<float> turned, mapped, direct, dense, sums, steps;  // of capsules' query rows
  AlignedVector<int16_t> whole;                              // query rows or weights in whole numbers
  AlignedVector<int32_t> whole_sums, tile_sums;
  AlignedVector<uint8_t> tile_queries, tile_codes;
  PackedTable table;
  std::vector<const uint8_t*> wide_rows;
  template <class Element>
  static Element* Room(AlignedVector<Element>& buffer, int64_t count) {
    if (static_cast<int64_t>(buffer.size()) < count) buffer.resize(count);
    return buffer.data();
  }
};

// Rows of tokens of one layer and KV head, each head_dim elements of `dtype`, wherever they lie.
struct PartRows {
  Dtype dtype;
  int32_t count;
  const uint8_t* const* keys;    // [count]
  const uint8_t* const* values;  // [count]
};

enum class QuantCode { kQ8, kQ4 };

// Rows of a Q8Format or Q4Format unit: codes wherever they lie, and their scales one row after the other, as those
// formats lay them out.
struct QuantRows {
  QuantCode code;
  int32_t count;
  const uint8_t* const* keys;    // [count]
  const uint8_t* const* values;  // [count]
  const uint8_t* key_scales;
  const uint8_t* value_scales;
};

// Which of a part's tokens row i (of `group` query heads a token row) sees: the first
// clamp(seen + i / group, 0, count); all of them when not causal.
struct Visibility {
  bool causal = false;
  int32_t seen = 0;
  int32_t group = 1;
};

// queries [state.rows][head_dim], scaled. Overwrites the state.
void AttendRows(const PartRows& part, const Visibility& visibility, const float* queries,
                AttentionScratch& scratch, const SoftmaxState& state);

// All query rows see all tokens.
void AttendQuantRows(const QuantRows& part, const float* queries, AttentionScratch& scratch,
                     const SoftmaxState& state);

// Template rows of consecutive columns.
struct TemplateRange {
  int32_t column;  // the first
  int32_t count;
  int32_t direct;  // the first's number among CapsuleSide::direct
};

// Keys or values of one layer and head of a fitted format, as the kernel reads them. Rows X of the span become
// mix^T C map + direct: C are the m stored rows, mix is block-diagonal over groups of tokens.
struct CapsuleSide {
  int32_t rows = 0;                    // m
  AlignedVector<int32_t> row_begins;     // [groups + 1]
  AlignedVector<int32_t> column_begins;  // [groups + 1]
  std::vector<int64_t> mix_begins;     // [groups] into mix
  AlignedVector<float> mix;     // keys: [m_g][RoundToLanes(n_g)]; values: [n_g][RoundToLanes(m_g)]; padded with zeros
  AlignedVector<float> map;     // what mapped queries, or weighted stored rows, are multiplied by, [dim][padded dim];
                              // empty: nothing
  AlignedVector<float> signs;  // [dim] instead of a map: the Hadamard matrix, of dim 64 or 128. Keys are multiplied by
                               // signs before it, values after
  std::vector<TemplateRange> templates;  // ascending columns
  int32_t template_rows = 0;             // t, of all ranges
  int32_t means = 0;                     // groups with a template of all their rows: all of them or none
  AlignedVector<float> direct;  // template rows, less their group's mean, then the means. Keys: one a column,
                              // [dim][RoundToLanes(t + means)]; values: [t + means][padded dim]
  AlignedVector<uint16_t> half_direct;  // of values, instead of direct where every number is a half float: read from memory
                                        // in half the time, and one query row does little else with them
  bool packed = false;  // stored rows are in the code of kv/codec/packed/row_code.h, not in the pool's type:
  AlignedVector<float> deviations, energies;  // [RoundToLanes(m)] as PackedUnit's; energies' padding is -infinity
  AlignedVector<int32_t> bits;                // [RoundToLanes(m)] as PackedUnit's, or empty

  int32_t directs() const { return template_rows + means; }
};

struct CapsuleOperator {
  int32_t tokens = 0;  // n
  CapsuleSide keys, values;
};

// Query rows, one for each capsule that they look at, that a format's bases are multiplied with together: their
// weights of a whole picture's tokens stay in the second-level cache.
inline constexpr int32_t kStackedRows = 128;

// One capsule that query rows look at.
struct CapsuleLook {
  PartRows rows = {};              // stored rows in the pool's type; none when they are packed:
  PackedBytes keys = {}, values = {};  // then these
  const float* turn = nullptr;  // [dim / 2] cosines, then sines, that turn queries back by the span's position
};

// Query rows with the capsules of one format that they look at: one softmax over all of these. What it adds up, and
// in which order, depends on these capsules alone.
struct CapsuleVisit {
  std::span<const CapsuleLook> looks;
  const float* queries = nullptr;  // [state.rows][head_dim], scaled
  SoftmaxState state;
};

// All visits share the operator; their query rows are stacked for whatever does not depend on the picture.
void AttendCapsules(const CapsuleOperator& head, std::span<const CapsuleVisit> visits, AttentionScratch& scratch);

// Codes of one packed row of 1 to 8 bits, a byte a channel, shifted up until the highest bit is the byte's: so a code's
// unit is about the same share of its row's deviation whatever the bits. Up to kOverRead bytes after the row are read.
void UnpackCodes(const uint8_t* codes, int32_t bits, int32_t dim, uint8_t* to);

// into = what one softmax over both gives. Starts from rows that saw nothing: Clear.
void Clear(const SoftmaxState& state);
void Merge(const SoftmaxState& part, const SoftmaxState& into);

}  // namespace kvcapsule
