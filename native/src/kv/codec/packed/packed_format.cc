#include "kv/codec/packed/packed_format.h"

#include <Eigen/LU>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "common/half.h"
#include "common/vector_bytes.h"
#include "kv/gemm.h"
#include "kv/simd.h"
#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

FormatInfo InfoOf(const PackedProfile& profile) {
  FormatInfo info;
  info.codec = profile.codec;
  info.profile_id = profile.id;
  info.tokens = profile.tokens;
  info.marker_rows = profile.marker_rows;
  info.header_bytes =
      CapsuleHeader::kSlotBytes + static_cast<int64_t>(profile.parts.size() * sizeof(uint32_t));
  return info;
}

// Rows of dim floats to rows of padded floats, the padding zero.
std::vector<float> Pad(const std::vector<float>& rows, int32_t dim, int32_t padded) {
  std::vector<float> out(rows.size() / dim * padded);
  for (size_t r = 0; r < rows.size() / dim; ++r)
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(r * dim), dim,
                out.begin() + static_cast<std::ptrdiff_t>(r * padded));
  return out;
}

std::vector<float> Inverse(const std::vector<float>& matrix, int32_t dim, const std::string& id) {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Matrix a(dim, dim);
  std::copy(matrix.begin(), matrix.end(), a.data());
  const Matrix inverse = a.partialPivLu().inverse();
  const double error = (a * inverse - Matrix::Identity(dim, dim)).cwiseAbs().maxCoeff();
  if (!(error < 1e-3))
    throw Error(ErrorCode::kProfileInvalid, "profile " + id + " has a channel transform without an inverse");
  std::vector<float> out(matrix.size());
  std::transform(inverse.data(), inverse.data() + inverse.size(), out.begin(),
                 [](double x) { return static_cast<float>(x); });
  return out;
}

PackedUnit MakeUnit(const PackedPart& part, const PackedProfile& profile, const std::vector<int32_t>& columns,
                    const std::vector<int32_t>& group_begins, int32_t padded) {
  const int32_t dim = profile.head_dim;
  PackedUnit unit;
  unit.rank = part.rank();
  unit.rank_begins = {0};
  unit.basis_begins = {0};
  unit.encode = part.basis;
  unit.expand = part.basis;
  for (size_t g = 0; g + 1 < group_begins.size(); ++g) {
    const int32_t extent = group_begins[g + 1] - group_begins[g];
    for (int64_t i = 0; i < static_cast<int64_t>(part.ranks[g]) * extent; ++i) {
      const float weight = part.weights[group_begins[g] + i % extent];
      unit.encode[unit.basis_begins[g] + i] *= weight;
      unit.expand[unit.basis_begins[g] + i] /= weight;
    }
    unit.rank_begins.push_back(unit.rank_begins[g] + part.ranks[g]);
    unit.basis_begins.push_back(unit.basis_begins[g] + static_cast<int64_t>(part.ranks[g]) * extent);
  }
  unit.deviations = part.deviations;
  for (const float deviation : part.deviations)
    unit.energies.push_back(part.sensitivity * static_cast<float>(dim) * deviation * deviation);
  unit.bits = part.bits;
  std::vector<int32_t> column_of(profile.tokens);
  for (int32_t c = 0; c < profile.tokens; ++c) column_of[columns[c]] = c;
  for (const int32_t row : part.template_rows) unit.template_columns.push_back(column_of[row]);
  unit.template_rows = Pad(part.rows, dim, padded);
  unit.means = Pad(part.means, dim, padded);
  return unit;
}

// Rows of each part that have bits in a picture whose rows deviate as those of the fit did on average.
std::vector<int32_t> MeanPresent(const PackedProfile& profile, int64_t room) {
  std::vector<float> energies;
  for (const PackedPart& part : profile.parts) {
    for (const float deviation : part.deviations)
      energies.push_back(part.sensitivity * static_cast<float>(profile.head_dim) * deviation * deviation);
  }
  const BitThresholds unit = UnitThresholds(profile.row_cost);
  const BitThresholds thresholds =
      ThresholdsOf(profile.chooses_bits() ? PriceThatFits(energies, unit, room) : 0, unit);
  std::vector<int32_t> present;
  size_t row = 0;
  for (const PackedPart& part : profile.parts) {
    int32_t count = 0;
    for (int32_t r = 0; r < part.rank(); ++r, ++row)
      count += (profile.chooses_bits() ? BitsOf(energies[row], thresholds) : part.bits[r]) > 0;
    present.push_back(count);
  }
  return present;
}

// Rows with bits by d, bases, templates and the channels' transform (by additions), keys and values.
double MacsShare(const PackedProfile& profile, int64_t room) {
  const double dim = profile.head_dim;
  const std::vector<int32_t> begins = profile.GroupBegins(), present = MeanPresent(profile, room);
  double macs = 0;
  for (size_t p = 0; p < profile.parts.size(); ++p) {
    const PackedPart& part = profile.parts[p];
    macs += present[p] * dim;
    for (size_t g = 0; g < part.ranks.size(); ++g) macs += part.ranks[g] * (begins[g + 1] - begins[g]);
    if (p % 2 == 0) macs += static_cast<double>(part.rows.size() + part.means.size());  // values': once a sequence
  }
  return macs / (static_cast<double>(profile.parts.size()) * profile.tokens * dim);
}

int64_t LevelBytes(const PackedUnit& unit) { return (unit.rank + 1) / 2; }

}  // namespace

PackedFormat::PackedFormat(const KvGeometry& geometry, PackedProfile profile)
    : KvFormat(geometry, CodecNumber::kPacked, InfoOf(profile)),
      profile_(std::move(profile)),
      padded_dim_(RoundToLanes(geometry.head_dim)),
      unit_thresholds_(UnitThresholds(profile_.row_cost)),
      columns_(profile_.Columns()),
      group_begins_(profile_.GroupBegins()),
      transform_(Pad(profile_.transform, geometry.head_dim, padded_dim_)),
      inverse_(
          Pad(Inverse(profile_.transform, geometry.head_dim, profile_.id), geometry.head_dim, padded_dim_)) {
  rows_offset_ = info().header_bytes;
  int64_t static_bytes = 0;
  for (const PackedPart& part : profile_.parts) {
    units_.push_back(MakeUnit(part, profile_, columns_, group_begins_, padded_dim_));
    units_.back().levels_offset = rows_offset_;
    rows_offset_ += LevelBytes(units_.back());
    for (const uint8_t bits : part.bits) static_bytes += RowCodeBytes(bits, geometry.head_dim);
  }
  bytes_ = profile_.chooses_bits() ? profile_.bytes : rows_offset_ + static_bytes;
  if (bytes_ < rows_offset_)
    throw Error(ErrorCode::kProfileInvalid,
                "profile " + profile_.id + " has capsules too small for its rows");
  SetMacsShare(MacsShare(profile_, (bytes_ - rows_offset_) / RowCodeBytes(1, geometry.head_dim)));
}

int64_t PackedFormat::MemoryBytes() const {
  int64_t bytes = VectorsBytes(columns_, group_begins_, transform_, inverse_, units_, profile_.transform,
                               profile_.marker_rows, profile_.groups, profile_.parts);
  for (const PackedPart& part : profile_.parts)
    bytes += VectorsBytes(part.weights, part.ranks, part.basis, part.deviations, part.bits, part.template_rows,
                          part.rows, part.spectrum, part.means);
  for (const PackedUnit& unit : units_)
    bytes += VectorsBytes(unit.rank_begins, unit.basis_begins, unit.encode, unit.expand, unit.deviations,
                          unit.energies, unit.bits, unit.template_columns, unit.template_rows, unit.means);
  return bytes;
}

int64_t PackedFormat::PayloadBytes(int32_t /*tokens*/) const { return bytes_ - info().header_bytes; }

void RotateRows(float* data, int64_t rows, int64_t stride, int32_t dim, float rope_theta, int32_t positions) {
  if (rope_theta == 0 || positions == 0) return;
  const int32_t half = dim / 2;
  for (int32_t c = 0; c < half; ++c) {
    const double angle = positions * std::pow(static_cast<double>(rope_theta), -1.0 * c / half);
    const auto cosine = static_cast<float>(std::cos(angle)), sine = static_cast<float>(std::sin(angle));
    for (int64_t r = 0; r < rows; ++r) {
      float& x = data[r * stride + c];
      float& y = data[r * stride + c + half];
      const float turned = x * cosine - y * sine;
      y = x * sine + y * cosine;
      x = turned;
    }
  }
}

// Rows in column order, keys at position 0, templates off.
void PackedFormat::GatherRows(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                              int32_t position, size_t number, std::vector<float>& rows) const {
  const PackedUnit& unit = units_[number];
  const auto part = static_cast<KvPart>(number % 2);
  const auto head = static_cast<int32_t>(number / 2);
  const int32_t n = profile_.tokens, dim = geometry().head_dim, padded = padded_dim_;
  rows.assign(static_cast<size_t>(n) * padded, 0);
  for (int32_t c = 0; c < n; ++c) {
    ToFloat(geometry().dtype,
            RawRow(pool, source, head / geometry().kv_heads, part, head % geometry().kv_heads,
                   covered[columns_[c]]),
            dim, rows.data() + static_cast<size_t>(c) * padded);
  }
  if (part == KvPart::kKey) RotateRows(rows.data(), n, padded, dim, profile_.rope_theta, -position);
  const auto subtract = [&](int32_t column, const float* from, float sign) {
    float* row = rows.data() + static_cast<size_t>(column) * padded;
    for (int32_t i = 0; i < dim; ++i) row[i] -= sign * from[i];
  };
  if (!unit.means.empty()) {
    const auto mean = [&](int32_t column) {
      return unit.means.data() + static_cast<size_t>(profile_.groups[columns_[column]]) * padded;
    };
    for (int32_t c = 0; c < n; ++c) subtract(c, mean(c), 1);
    for (const int32_t c : unit.template_columns) subtract(c, mean(c), -1);
  }
  for (size_t t = 0; t < unit.template_columns.size(); ++t)
    subtract(unit.template_columns[t], unit.template_rows.data() + t * padded, 1);
}

// C = E X A with the scale and energy of each row.
void PackedFormat::Project(const std::vector<float>& rows, const PackedUnit& unit, Draft& draft) const {
  const int32_t dim = geometry().head_dim, padded = padded_dim_;
  thread_local std::vector<float> mixed;
  mixed.resize(static_cast<size_t>(unit.rank) * padded);
  draft.coefficients.resize(mixed.size());
  for (size_t g = 0; g + 1 < group_begins_.size(); ++g) {
    const int32_t extent = group_begins_[g + 1] - group_begins_[g];
    GemmNN(unit.rank_begins[g + 1] - unit.rank_begins[g], padded, extent,
           unit.encode.data() + unit.basis_begins[g], extent,
           rows.data() + static_cast<size_t>(group_begins_[g]) * padded, padded,
           mixed.data() + static_cast<size_t>(unit.rank_begins[g]) * padded, padded, false);
  }
  GemmNN(unit.rank, padded, dim, mixed.data(), padded, transform_.data(), padded, draft.coefficients.data(),
         padded, false);
  for (int32_t r = 0; r < unit.rank; ++r) {
    const float* row = draft.coefficients.data() + static_cast<size_t>(r) * padded;
    float squares = 0;
    for (int32_t c = 0; c < dim; ++c) squares += row[c] * row[c];
    draft.levels.push_back(ScaleLevel(std::sqrt(squares / static_cast<float>(dim)), unit.deviations[r]));
    draft.energies.push_back(unit.energies[r] * EnergyFactor(draft.levels[r]));
  }
}

float PackedFormat::ChoosePrice(const std::vector<Draft>& drafts) const {
  std::vector<float> energies;
  for (const Draft& draft : drafts)
    energies.insert(energies.end(), draft.energies.begin(), draft.energies.end());
  return PriceThatFits(energies, unit_thresholds_,
                       (bytes_ - rows_offset_) / RowCodeBytes(1, geometry().head_dim));
}

void PackedFormat::PlaceRows(float price, std::vector<Draft>& drafts) const {
  const BitThresholds thresholds = ThresholdsOf(price, unit_thresholds_);
  int64_t offset = rows_offset_;
  for (size_t u = 0; u < drafts.size(); ++u) {
    Draft& draft = drafts[u];
    draft.offset = offset;
    for (int32_t r = 0; r < units_[u].rank; ++r) {
      draft.bits.push_back(profile_.chooses_bits() ? BitsOf(draft.energies[r], thresholds)
                                                   : units_[u].bits[r]);
      offset += RowCodeBytes(draft.bits[r], geometry().head_dim);
    }
    draft.bytes = offset - draft.offset;
  }
}

void PackedFormat::EncodeRows(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                              const CapsuleSegment& target, const RunTasks& run) const {
  std::vector<Draft> drafts(units_.size());
  const auto count = static_cast<int32_t>(units_.size());
  run(count, [&](int32_t u) {
    thread_local std::vector<float> rows;
    GatherRows(pool, source, covered, target.position, u, rows);
    Project(rows, units_[u], drafts[u]);
  });
  const float price = profile_.chooses_bits() ? ChoosePrice(drafts) : 0;
  PlaceRows(price, drafts);
  const PagedBytes bytes(pool, target.pages);
  WriteHeader(pool, target, price);
  std::vector<uint32_t> begins;
  for (const Draft& draft : drafts) begins.push_back(static_cast<uint32_t>(draft.offset));
  bytes.Write(CapsuleHeader::kSlotBytes, begins.data(),
              static_cast<int64_t>(begins.size() * sizeof(uint32_t)));
  run(count, [&](int32_t u) {
    const Draft& draft = drafts[u];
    const int32_t dim = geometry().head_dim;
    std::vector<uint8_t> levels(LevelBytes(units_[u])), codes(draft.bytes);
    int64_t at = 0;
    for (int32_t r = 0; r < units_[u].rank; ++r) {
      levels[r / 2] |= static_cast<uint8_t>(draft.levels[r] << (r % 2 * 4));
      if (draft.bits[r] == 0) continue;
      EncodeRow(draft.coefficients.data() + static_cast<size_t>(r) * padded_dim_,
                units_[u].deviations[r] * ScaleFactor(draft.levels[r]), draft.bits[r], dim,
                codes.data() + at);
      at += RowCodeBytes(draft.bits[r], dim);
    }
    bytes.Write(units_[u].levels_offset, levels.data(), static_cast<int64_t>(levels.size()));
    bytes.Write(draft.offset, codes.data(), draft.bytes);
  });
}

void PackedFormat::AskForHead(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, int32_t kv_head) const {
  const uint8_t* head = pool.Page(segment.pages.front());
  __builtin_prefetch(head);
  __builtin_prefetch(head + CapsuleHeader::kSlotBytes + UnitNumber(layer, KvPart::kKey, kv_head) * sizeof(uint32_t));
}

PackedBytes PackedFormat::Locate(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                                 int32_t kv_head, Gathered& scratch) const {
  const PackedUnit& own = unit(layer, part, kv_head);
  const PagedBytes bytes(pool, segment.pages);
  const size_t number = UnitNumber(layer, part, kv_head);
  // The header slot and where units begin, in the first page together.
  const uint8_t* head = bytes.Read(0, info().header_bytes, scratch.levels);
  CapsuleHeader header;
  std::memcpy(&header, head, sizeof header);
  std::array<uint32_t, 2> begins = {0, static_cast<uint32_t>(bytes_)};
  std::memcpy(begins.data(), head + CapsuleHeader::kSlotBytes + number * sizeof(uint32_t),
              number + 1 < units_.size() ? sizeof begins : sizeof begins[0]);
  const int64_t begin = std::min<int64_t>(begins[0], bytes_);
  const int64_t end = std::clamp<int64_t>(begins[1], begin, bytes_);
  PackedBytes unit;
  unit.thresholds = ThresholdsOf(header.bit_price, unit_thresholds_);
  unit.code_bytes = end - begin;
  unit.levels = bytes.Read(own.levels_offset, LevelBytes(own), scratch.levels);
  if (end > begin) unit.codes = bytes.Read(begin, end - begin, scratch.codes);
  for (int64_t at = 0; at < LevelBytes(own); at += 64) __builtin_prefetch(unit.levels + at);
  __builtin_prefetch(unit.codes);
  return unit;
}

void PackedFormat::ReadRowTable(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                                int32_t kv_head, std::vector<PackedRow>& rows) const {
  const PackedUnit& own = unit(layer, part, kv_head);
  const PagedBytes bytes(pool, segment.pages);
  thread_local std::vector<uint8_t> scratch;
  CapsuleHeader header;
  std::memcpy(&header, bytes.Read(0, sizeof header, scratch), sizeof header);
  const auto number = static_cast<int64_t>(UnitNumber(layer, part, kv_head));
  uint32_t offset = 0;
  std::memcpy(&offset,
              bytes.Read(CapsuleHeader::kSlotBytes + number * static_cast<int64_t>(sizeof offset),
                         sizeof offset, scratch),
              sizeof offset);
  const BitThresholds thresholds = ThresholdsOf(header.bit_price, unit_thresholds_);
  const uint8_t* levels = bytes.Read(own.levels_offset, LevelBytes(own), scratch);
  rows.resize(own.rank);
  int64_t at = std::min<int64_t>(offset, bytes_);
  for (int32_t r = 0; r < own.rank; ++r) {
    const int32_t level = levels[r / 2] >> (r % 2 * 4) & 15;
    rows[r].offset = at;
    rows[r].scale = own.deviations[r] * ScaleFactor(level);
    rows[r].bits = own.bits.empty() ? BitsOf(own.energies[r] * EnergyFactor(level), thresholds) : own.bits[r];
    // the pool's bytes may be spoilt: no row lies past the capsule's end
    if (at + RowCodeBytes(rows[r].bits, geometry().head_dim) > bytes_) rows[r].bits = 0;
    at += RowCodeBytes(rows[r].bits, geometry().head_dim);
  }
}

void PackedFormat::ReadCoefficients(const KvPool& pool, const CapsuleSegment& segment, int32_t layer,
                                    KvPart part, int32_t kv_head, float* out) const {
  const int32_t dim = geometry().head_dim;
  thread_local std::vector<PackedRow> rows;
  thread_local std::vector<uint8_t> scratch;
  ReadRowTable(pool, segment, layer, part, kv_head, rows);
  if (rows.empty()) return;
  const int64_t begin = rows.front().offset;
  const int64_t end = rows.back().offset + RowCodeBytes(rows.back().bits, dim);
  const uint8_t* codes = PagedBytes(pool, segment.pages).Read(begin, end - begin, scratch);
  for (const PackedRow& row : rows) {
    DecodeRow(codes + (row.offset - begin), row.scale, row.bits, dim, out);
    std::fill(out + dim, out + padded_dim_, 0.0f);
    out += padded_dim_;
  }
}

const float* PackedFormat::TemplateOf(const PackedUnit& unit, int32_t column) const {
  const auto found = std::find(unit.template_columns.begin(), unit.template_columns.end(), column);
  if (found != unit.template_columns.end())
    return unit.template_rows.data() + (found - unit.template_columns.begin()) * padded_dim_;
  if (unit.means.empty()) return nullptr;
  return unit.means.data() + static_cast<size_t>(profile_.groups[columns_[column]]) * padded_dim_;
}

void PackedFormat::Decode(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                          int32_t kv_head, float* out) const {
  const PackedUnit& own = unit(layer, part, kv_head);
  const int32_t n = profile_.tokens, dim = geometry().head_dim, padded = padded_dim_;
  std::vector<float> coefficients(static_cast<size_t>(own.rank) * padded);
  ReadCoefficients(pool, segment, layer, part, kv_head, coefficients.data());
  // C A^-1 once a coefficient row, then U^T.
  std::vector<double> plain(static_cast<size_t>(own.rank) * dim), row(dim);
  for (int32_t r = 0; r < own.rank; ++r) {
    for (int32_t k = 0; k < dim; ++k) {
      const double coefficient = coefficients[static_cast<size_t>(r) * padded + k];
      for (int32_t c = 0; c < dim; ++c)
        plain[static_cast<size_t>(r) * dim + c] +=
            coefficient * inverse_[static_cast<size_t>(k) * padded + c];
    }
  }
  for (int32_t column = 0; column < n; ++column) {
    const int32_t group = profile_.groups[columns_[column]];
    const int32_t extent = group_begins_[group + 1] - group_begins_[group];
    const float* expand = own.expand.data() + own.basis_begins[group] + (column - group_begins_[group]);
    const float* base = TemplateOf(own, column);
    for (int32_t c = 0; c < dim; ++c) row[c] = base ? base[c] : 0;
    for (int32_t r = own.rank_begins[group]; r < own.rank_begins[group + 1]; ++r, expand += extent) {
      for (int32_t c = 0; c < dim; ++c)
        row[c] += static_cast<double>(*expand) * plain[static_cast<size_t>(r) * dim + c];
    }
    std::copy(row.begin(), row.end(), out + static_cast<int64_t>(columns_[column]) * dim);
  }
  if (part == KvPart::kKey) RotateRows(out, n, dim, dim, profile_.rope_theta, segment.position);
}

}  // namespace kvcapsule
