// Attention of a few stacked query rows over one part of a sequence, for one layer and KV head. Every part gives
// (max, sum, output) by itself; parts are merged in their order, so the result depends neither on who computed
// which part nor on the rows beside a row. One kernel for each target of Highway, chosen at start.
#pragma once
#include <cstdint>
#include <new>
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
  // Lays the state over Floats(rows, dim) floats.
  static SoftmaxState At(float* floats, int32_t rows, int32_t dim) {
    return {rows, dim, floats, floats + rows, floats + 2 * static_cast<int64_t>(rows)};
  }
};

// Begins at a cache line: loads of 64 bytes that cross one cost twice as much.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};
  LineAllocator() = default;
  template <class U>
  LineAllocator(const LineAllocator<U>& /*other*/) {}  // NOLINT(google-explicit-constructor): containers rebind
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
  void deallocate(T* data, size_t /*count*/) { ::operator delete(data, kLine); }
  bool operator==(const LineAllocator& /*other*/) const { return true; }
};
using ScratchFloats = std::vector<float, LineAllocator<float>>;

// Scratch of one thread: grows only, settles at its largest part.
struct AttentionScratch {
  ScratchFloats keys, values, weights, shorts;  // the kernels'
  ScratchFloats queries, scales, plain;         // of rows: queries, a panel's scales, a panel made float
  ScratchFloats turned, mapped, direct, dense;  // of capsules' query rows
  std::vector<int32_t> present;                 // rows of a packed unit that have bits
  std::vector<const uint8_t*> wide_rows;
  template <class Floats>
  static float* Room(Floats& buffer, int64_t floats) {
    if (static_cast<int64_t>(buffer.size()) < floats) buffer.resize(floats);
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

// Keys or values of one layer and head of a fitted format, as the kernel reads them. Rows X of the span become
// mix^T C map + direct: C are the m stored rows, mix is block-diagonal over groups of tokens.
struct CapsuleSide {
  int32_t rows = 0;                    // m
  std::vector<int32_t> row_begins;     // [groups + 1]
  std::vector<int32_t> column_begins;  // [groups + 1]
  std::vector<int64_t> mix_begins;     // [groups] into mix
  std::vector<float> mix;     // keys: [m_g][RoundToLanes(n_g)]; values: [n_g][RoundToLanes(m_g)]; padded with zeros
  std::vector<float> map;     // what mapped queries, or weighted stored rows, are multiplied by, [dim][padded dim];
                              // empty: nothing
  std::vector<int32_t> template_columns;  // [t]
  int32_t means = 0;                      // groups with a template of all their rows: all of them or none
  std::vector<float> direct;  // template rows, less their group's mean, then the means. Keys: one a column,
                              // [dim][RoundToLanes(t + means)]; values: [t + means][padded dim]
  bool packed = false;  // stored rows are in the code of kv/codec/packed/row_code.h, not in the pool's type
};

struct CapsuleOperator {
  int32_t tokens = 0;  // n
  CapsuleSide keys, values;
};

// The m packed rows of a unit, codes one after the other; offsets count from some common byte.
struct PackedRows {
  const uint8_t* codes = nullptr;  // of the first row
  const PackedRow* table = nullptr;
};

// One capsule with the query rows that look at it.
struct CapsuleVisit {
  PartRows rows = {};                 // stored rows in the pool's type; none when they are packed:
  PackedRows keys = {}, values = {};  // then these
  const float* turn = nullptr;  // [dim / 2] cosines, then sines, that turn queries back by the span's position
  const float* queries = nullptr;
  SoftmaxState state;
};

// All visits share the operator; their query rows are stacked for whatever does not depend on the picture.
void AttendCapsules(const CapsuleOperator& head, std::span<const CapsuleVisit> visits, AttentionScratch& scratch);

// One packed row as float, as DecodeRow of row_code.h but for rounding; dim 64 or 128.
void UnpackRow(const uint8_t* codes, float scale, int32_t bits, int32_t dim, float* row);

// into = what one softmax over both gives. Starts from rows that saw nothing: Clear.
void Clear(const SoftmaxState& state);
void Merge(const SoftmaxState& part, const SoftmaxState& into);

}  // namespace kvcapsule
