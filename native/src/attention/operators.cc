#include "attention/operators.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "common/half.h"
#include "common/isa.h"
#include "common/vector_bytes.h"
#include "kv/codec/capsule/capsule_format.h"

namespace kvcapsule {
namespace {

// [rows][columns] turned over, each row of the result padded with zeros to whole vectors.
AlignedVector<float> PaddedTranspose(const float* from, int64_t rows, int64_t columns, int64_t stride) {
  const int64_t padded = RoundToLanes(static_cast<int>(rows));
  AlignedVector<float> out(columns * padded);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) out[c * padded + r] = from[r * stride + c];
  }
  return out;
}

AlignedVector<float> PaddedRows(const float* from, int64_t rows, int64_t columns) {
  const int64_t padded = RoundToLanes(static_cast<int>(columns));
  AlignedVector<float> out(rows * padded);
  for (int64_t r = 0; r < rows; ++r) std::copy_n(from + r * columns, columns, out.begin() + r * padded);
  return out;
}

CapsuleOperator FromCapsule(const CapsuleHead& head, int32_t tokens) {
  CapsuleOperator made;
  made.tokens = tokens;
  for (CapsuleSide* side : {&made.keys, &made.values}) {
    side->rows = head.rows;
    side->row_begins = {0, head.rows};
    side->column_begins = {0, tokens};
    side->mix_begins = {0};
  }
  made.keys.mix = PaddedRows(head.theta.data(), head.rows, tokens);
  made.values.mix = PaddedTranspose(head.basis.data(), head.rows, tokens, tokens);
  made.values.direct = PaddedRows(head.mean.data(), 1, static_cast<int64_t>(head.mean.size()));
  made.values.means = 1;
  return made;
}

// What keys and values have in common.
CapsuleSide FromUnit(const PackedUnit& unit, const PackedFormat& format) {
  CapsuleSide side;
  side.rows = unit.rank;
  side.row_begins.assign(unit.rank_begins.begin(), unit.rank_begins.end());
  side.column_begins.assign(format.group_begins().begin(), format.group_begins().end());
  side.packed = true;
  const size_t padded = RoundToLanes(unit.rank);
  side.deviations.assign(unit.deviations.begin(), unit.deviations.end());
  side.deviations.resize(padded);
  side.energies.assign(unit.energies.begin(), unit.energies.end());
  side.energies.resize(padded, -std::numeric_limits<float>::infinity());
  side.bits.assign(unit.bits.begin(), unit.bits.end());
  if (!side.bits.empty()) side.bits.resize(padded);
  side.template_rows = static_cast<int32_t>(unit.template_columns.size());
  side.means = unit.means.empty() ? 0 : static_cast<int32_t>(unit.rank_begins.size()) - 1;
  return side;
}

// Template rows by column, less their group's mean, then the means; [t + means][padded dim]. Ranges of consecutive
// columns go to side.
AlignedVector<float> DirectRows(const PackedUnit& unit, const std::vector<int32_t>& begins, int64_t padded,
                              CapsuleSide& side) {
  std::vector<std::pair<int32_t, int64_t>> order;  // (column, number in the unit)
  for (const int32_t column : unit.template_columns) order.emplace_back(column, order.size());
  std::sort(order.begin(), order.end());
  AlignedVector<float> rows;
  for (const auto& [column, number] : order) {
    const auto direct = static_cast<int32_t>(static_cast<int64_t>(rows.size()) / padded);
    if (side.templates.empty() || side.templates.back().column + side.templates.back().count != column)
      side.templates.push_back({column, 0, direct});
    ++side.templates.back().count;
    const auto from = unit.template_rows.begin() + number * padded;
    rows.insert(rows.end(), from, from + padded);
    if (unit.means.empty()) continue;
    const auto after = std::upper_bound(begins.begin(), begins.end(), column);
    const float* mean = unit.means.data() + (after - begins.begin() - 1) * padded;
    for (int64_t c = 0; c < padded; ++c) rows[direct * padded + c] -= mean[c];
  }
  rows.insert(rows.end(), unit.means.begin(), unit.means.end());
  return rows;
}

// s / (c dim) where the transform is diag(s) times the Hadamard matrix times c, so that its inverse is that matrix times
// diag of these; empty when it is not, or the kernel has no code for its size.
AlignedVector<float> SignsOf(const std::vector<float>& transform, int32_t dim) {
  const float unit = std::abs(transform[0]);
  if ((dim != 64 && dim != 128) || unit == 0) return {};
  AlignedVector<float> signs;
  for (int32_t i = 0; i < dim; ++i) {
    const float sign = transform[static_cast<size_t>(i) * dim] < 0 ? -1 : 1;
    for (int32_t j = 0; j < dim; ++j) {
      const float entry = std::popcount(static_cast<uint32_t>(i & j)) % 2 ? -sign * unit : sign * unit;
      if (transform[static_cast<size_t>(i) * dim + j] != entry) return {};
    }
    signs.push_back(sign / (unit * static_cast<float>(dim)));
  }
  return signs;
}

// The bits of half floats that are these numbers; empty where one is not, or the processor does not convert them itself.
AlignedVector<uint16_t> AsHalves(const AlignedVector<float>& numbers) {
  if (BestIsa() < Isa::kAvx2) return {};
  const auto count = static_cast<int64_t>(numbers.size());
  AlignedVector<uint16_t> halves(count);
  AlignedVector<float> back(count);
  auto* bytes = reinterpret_cast<uint8_t*>(halves.data());
  FromFloat(Dtype::kF16, numbers.data(), count, bytes);
  ToFloat(Dtype::kF16, bytes, count, back.data());
  if (std::memcmp(back.data(), numbers.data(), count * sizeof(float)) != 0) return {};
  return halves;
}

CapsuleOperator FromPacked(const PackedFormat& format, int32_t layer, int32_t kv_head) {
  const int64_t dim = format.geometry().head_dim, padded = format.padded_dim();
  CapsuleOperator made;
  made.tokens = format.info().tokens;
  for (const KvPart part : {KvPart::kKey, KvPart::kValue}) {
    const PackedUnit& unit = format.unit(layer, part, kv_head);
    CapsuleSide side = FromUnit(unit, format);
    for (size_t g = 0; g + 1 < side.row_begins.size(); ++g) {
      const int64_t rows = side.row_begins[g + 1] - side.row_begins[g];
      const int64_t columns = side.column_begins[g + 1] - side.column_begins[g];
      const float* expand = unit.expand.data() + unit.basis_begins[g];
      const AlignedVector<float> mix = part == KvPart::kKey ? PaddedRows(expand, rows, columns)
                                                          : PaddedTranspose(expand, rows, columns, columns);
      side.mix_begins.push_back(static_cast<int64_t>(side.mix.size()));
      side.mix.insert(side.mix.end(), mix.begin(), mix.end());
    }
    side.signs = SignsOf(format.transform(), static_cast<int32_t>(dim));
    const AlignedVector<float> direct = DirectRows(unit, format.group_begins(), padded, side);
    if (part == KvPart::kKey) {
      // logits = q A^-T C^T
      if (side.signs.empty()) side.map = PaddedTranspose(format.inverse().data(), dim, dim, padded);
      side.direct = PaddedTranspose(direct.data(), static_cast<int64_t>(direct.size()) / padded, dim, padded);
      made.keys = std::move(side);
    } else {
      if (side.signs.empty()) side.map.assign(format.inverse().begin(), format.inverse().end());
      side.half_direct = AsHalves(direct);
      if (side.half_direct.empty()) side.direct = direct;
      made.values = std::move(side);
    }
  }
  return made;
}

// Whether its capsules are turned to the position that they stand at.
bool Turns(const KvFormat& format) {
  const auto* packed = dynamic_cast<const PackedFormat*>(&format);
  return packed && packed->profile().rope_theta != 0;
}

}  // namespace

bool CapsuleOperators::Prepare(const std::shared_ptr<const KvFormat>& format) {
  const auto [at, fresh] = of_.try_emplace(format.get());
  std::vector<CapsuleOperator>& heads = at->second.heads;
  if (!fresh) return !heads.empty();
  at->second.format = format;
  if (const auto* capsule = dynamic_cast<const CapsuleFormat*>(format.get())) {
    const CapsuleProfile& profile = capsule->profile();
    for (const CapsuleHead& head : profile.heads) heads.push_back(FromCapsule(head, profile.tokens));
  } else if (const auto* packed = dynamic_cast<const PackedFormat*>(format.get())) {
    for (int32_t layer = 0; layer < format->geometry().layers; ++layer) {
      for (int32_t kv_head = 0; kv_head < format->geometry().kv_heads; ++kv_head)
        heads.push_back(FromPacked(*packed, layer, kv_head));
    }
  }
  return !heads.empty();
}

int64_t CapsuleOperators::MemoryBytes(int32_t positions) const {
  // a turn's node in its map: link, key and vector, in the allocator's steps of 16, and its place in the table
  constexpr int64_t kNodeBytes = 56;
  int64_t bytes = 0;
  for (const auto& [format, prepared] : of_) {
    if (Turns(*format)) bytes += positions * (kNodeBytes + format->geometry().head_dim * int64_t{sizeof(float)});
    bytes += VectorBytes(prepared.heads);
    for (const CapsuleOperator& head : prepared.heads) {
      for (const CapsuleSide* side : {&head.keys, &head.values})
        bytes += VectorsBytes(side->row_begins, side->column_begins, side->mix_begins, side->mix, side->map,
                              side->signs, side->templates, side->direct, side->half_direct, side->deviations, side->energies, side->bits);
    }
  }
  return bytes;
}

const float* CapsuleOperators::Turn(const PackedFormat& format, int32_t position) {
  if (format.profile().rope_theta == 0 || position == 0) return nullptr;
  const auto [at, fresh] = of_.at(&format).turns.try_emplace(position);
  if (fresh) {
    // Pairs (1, 0) turned are the cosines and sines.
    const int32_t dim = format.geometry().head_dim;
    at->second.assign(dim, 0.0f);
    std::fill_n(at->second.begin(), dim / 2, 1.0f);
    RotateRows(at->second.data(), 1, dim, dim, format.profile().rope_theta, -position);
  }
  return at->second.data();
}

}  // namespace kvcapsule
