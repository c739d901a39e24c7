#include "kv/codec/packed/packed_format.h"

#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <utility>

#include "common/half.h"
#include "kv/codec/packed/row_code.h"
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

PackedUnit MakeUnit(const PackedPart& part, const PackedProfile& profile,
                    const std::vector<int32_t>& group_begins, int32_t padded) {
  const int32_t dim = profile.head_dim;
  PackedUnit unit;
  unit.rank = part.rank();
  unit.bytes = unit.rank;
  for (const uint8_t bits : part.bits) {
    unit.row_offsets.push_back(unit.bytes);
    unit.bytes += RowCodeBytes(bits, dim);
  }
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
  unit.transform = Pad(part.transform, dim, padded);
  unit.inverse = Pad(Inverse(part.transform, dim, profile.id), dim, padded);
  unit.offset_rows = Pad(part.offset, dim, padded);
  unit.template_rows = Pad(part.rows, dim, padded);
  unit.mean = Pad(part.mean, dim, padded);
  return unit;
}

}  // namespace

PackedFormat::PackedFormat(const KvGeometry& geometry, PackedProfile profile)
    : KvFormat(geometry, CodecNumber::kPacked, InfoOf(profile)),
      profile_(std::move(profile)),
      padded_dim_(RoundToLanes(geometry.head_dim)),
      columns_(profile_.Columns()),
      group_begins_(profile_.GroupBegins()) {
  std::vector<int32_t> column_of(profile_.tokens);
  for (int32_t c = 0; c < profile_.tokens; ++c) column_of[columns_[c]] = c;
  for (const int32_t row : profile_.template_rows) template_columns_.push_back(column_of[row]);
  for (const PackedPart& part : profile_.parts) {
    units_.push_back(MakeUnit(part, profile_, group_begins_, padded_dim_));
    units_.back().offset = info().header_bytes + payload_bytes_;
    payload_bytes_ += units_.back().bytes;
  }
}

int64_t PackedFormat::PayloadBytes(int32_t /*tokens*/) const { return payload_bytes_; }

void PackedFormat::Rotate(float* data, int64_t rows, int64_t stride, int32_t positions) const {
  if (profile_.rope_theta == 0 || positions == 0) return;
  const int32_t half = geometry().head_dim / 2;
  for (int32_t c = 0; c < half; ++c) {
    const double angle = positions * std::pow(static_cast<double>(profile_.rope_theta), -1.0 * c / half);
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

void PackedFormat::EncodeHead(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                              const CapsuleSegment& target, int32_t layer, int32_t kv_head) const {
  EncodePart(pool, source, covered, target, layer, KvPart::kKey, kv_head);
  EncodePart(pool, source, covered, target, layer, KvPart::kValue, kv_head);
}

void PackedFormat::EncodePart(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                              const CapsuleSegment& target, int32_t layer, KvPart part,
                              int32_t kv_head) const {
  const PackedUnit& own = unit(layer, part, kv_head);
  const int32_t n = profile_.tokens, dim = geometry().head_dim, padded = padded_dim_;
  thread_local std::vector<float> rows, mixed, coefficients;
  rows.assign(static_cast<size_t>(n) * padded, 0);
  mixed.resize(static_cast<size_t>(own.rank) * padded);
  coefficients.resize(mixed.size());
  for (int32_t c = 0; c < n; ++c) {
    ToFloat(geometry().dtype, RawRow(pool, source, layer, part, kv_head, covered[columns_[c]]), dim,
            rows.data() + static_cast<size_t>(c) * padded);
  }
  if (part == KvPart::kKey) Rotate(rows.data(), n, padded, -target.position);
  const auto subtract = [&](int32_t column, const float* from, float sign) {
    float* row = rows.data() + static_cast<size_t>(column) * padded;
    for (int32_t i = 0; i < dim; ++i) row[i] -= sign * from[i];
  };
  if (!own.mean.empty()) {
    for (int32_t c = 0; c < n; ++c) subtract(c, own.mean.data(), 1);
    for (const int32_t c : template_columns_) subtract(c, own.mean.data(), -1);
  }
  for (size_t t = 0; t < template_columns_.size(); ++t)
    subtract(template_columns_[t], own.template_rows.data() + t * padded, 1);
  // C = E X A - O
  for (size_t g = 0; g + 1 < group_begins_.size(); ++g) {
    const int32_t extent = group_begins_[g + 1] - group_begins_[g];
    GemmNN(own.rank_begins[g + 1] - own.rank_begins[g], padded, extent,
           own.encode.data() + own.basis_begins[g], extent,
           rows.data() + static_cast<size_t>(group_begins_[g]) * padded, padded,
           mixed.data() + static_cast<size_t>(own.rank_begins[g]) * padded, padded, false);
  }
  GemmNN(own.rank, padded, dim, mixed.data(), padded, own.transform.data(), padded, coefficients.data(),
         padded, false);
  for (size_t i = 0; i < own.offset_rows.size(); ++i) coefficients[i] -= own.offset_rows[i];
  std::vector<uint8_t> bytes(own.bytes);
  const std::vector<uint8_t>& bits = profile_.part(layer, kv_head, part).bits;
  for (int32_t r = 0; r < own.rank; ++r) {
    bytes[r] = EncodeRow(coefficients.data() + static_cast<size_t>(r) * padded, bits[r], dim,
                         bytes.data() + own.row_offsets[r]);
  }
  PagedBytes(pool, target.pages).Write(own.offset, bytes.data(), own.bytes);
}

void PackedFormat::ReadCoefficients(const KvPool& pool, const CapsuleSegment& segment, int32_t layer,
                                    KvPart part, int32_t kv_head, float* out) const {
  const PackedUnit& own = unit(layer, part, kv_head);
  const int32_t dim = geometry().head_dim;
  const std::vector<uint8_t>& bits = profile_.part(layer, kv_head, part).bits;
  thread_local std::vector<uint8_t> scratch;
  const uint8_t* bytes = PagedBytes(pool, segment.pages).Read(own.offset, own.bytes, scratch);
  for (int32_t r = 0; r < own.rank; ++r) {
    float* row = out + static_cast<int64_t>(r) * padded_dim_;
    DecodeRow(bytes + own.row_offsets[r], bytes[r], bits[r], dim, row);
    std::fill(row + dim, row + padded_dim_, 0.0f);
  }
  for (size_t i = 0; i < own.offset_rows.size(); ++i) out[i] += own.offset_rows[i];
}

void PackedFormat::Decode(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                          int32_t kv_head, float* out) const {
  const PackedUnit& own = unit(layer, part, kv_head);
  const int32_t n = profile_.tokens, dim = geometry().head_dim, padded = padded_dim_;
  std::vector<float> coefficients(static_cast<size_t>(own.rank) * padded);
  ReadCoefficients(pool, segment, layer, part, kv_head, coefficients.data());
  std::vector<double> row(dim), plain(dim);
  for (size_t g = 0; g + 1 < group_begins_.size(); ++g) {
    const int32_t extent = group_begins_[g + 1] - group_begins_[g];
    for (int32_t i = 0; i < extent; ++i) {
      std::fill(row.begin(), row.end(), 0.0);
      for (int32_t r = own.rank_begins[g]; r < own.rank_begins[g + 1]; ++r) {
        const double u = own.expand[own.basis_begins[g] + static_cast<int64_t>(r - own.rank_begins[g]) * extent + i];
        for (int32_t c = 0; c < dim; ++c) row[c] += u * coefficients[static_cast<size_t>(r) * padded + c];
      }
      const int32_t column = group_begins_[g] + i;
      const auto found = std::find(template_columns_.begin(), template_columns_.end(), column);
      const float* base = own.mean.empty() ? nullptr : own.mean.data();
      if (found != template_columns_.end())
        base = own.template_rows.data() + (found - template_columns_.begin()) * padded;
      float* to = out + static_cast<int64_t>(columns_[column]) * dim;
      for (int32_t c = 0; c < dim; ++c) {
        plain[c] = base ? base[c] : 0;
        for (int32_t k = 0; k < dim; ++k) plain[c] += row[k] * own.inverse[static_cast<size_t>(k) * padded + c];
        to[c] = static_cast<float>(plain[c]);
      }
    }
  }
  if (part == KvPart::kKey) Rotate(out, n, dim, segment.position);
}

}  // namespace kvcapsule
