// A fitted profile of version 2: the general linear capsule. method.md, "With template rows T", and points
// 7, 8 and 10.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kv/codec/profile_file.h"
#include "kvcapsule/kv_geometry.h"

namespace kvcapsule {

// Keys or values of one layer and KV head. Rows X (n of them, keys turned back to position 0) become
// coefficients C = E (X - template) A with E = U diag(w), and come back as X^ = diag(1/w) U^T C A^-1 +
// template. U is block-diagonal over the profile's groups.
struct PackedPart {
  std::vector<float> weights;          // w [n], in column order
  std::vector<int32_t> ranks;          // [groups] rows m_g of each group's basis, up to n_g
  std::vector<float> basis;            // U: one [m_g][n_g] after the other, orthonormal rows
  std::vector<float> deviations;       // [m] of a coefficient row's channels over the pictures of the fit
  float sensitivity = 0;               // cost of a unit of squared error, next to the other parts'
  std::vector<uint8_t> bits;           // [m] of each row, 0 to 8; empty: chosen anew for each picture
  std::vector<int32_t> template_rows;  // [t] rows of the span with a template of their own, ascending
  std::vector<float> rows;             // [t][head_dim] those templates
  std::vector<float> spectrum;         // [n] deviations of all ranks of all groups, for people; or empty
  std::vector<float> means;            // [groups][head_dim] template of a group's other rows, or empty: zero

  int32_t rank() const { return static_cast<int32_t>(deviations.size()); }
};

// For spans of exactly n rows. Column order: the rows of group 0 ascending, then those of group 1, ...
struct PackedProfile {
  std::string id;
  std::string codec;   // "capsule-q8", "capsule-q4" or "capsule-mixed"
  int32_t tokens = 0;  // n
  int32_t layers = 0, kv_heads = 0, head_dim = 0;
  float rope_theta = 0;              // base of the rotary positions; 0: keys are not rotated
  int64_t bytes = 0;                 // of a capsule, header included, where bits are chosen for each picture
  float row_cost = 0;                // bits a channel that a row must be worth beside its own, likewise
  std::vector<float> transform;      // A [head_dim][head_dim], of all parts
  std::vector<int32_t> marker_rows;  // rows of the span that are markers, ascending
  std::vector<int32_t> groups;       // [n] group of each row, 0 .. G-1, none of them empty
  std::vector<PackedPart> parts;     // [layer][kv head][keys, values]

  const PackedPart& part(int32_t layer, int32_t kv_head, KvPart part) const {
    return parts[(static_cast<size_t>(layer) * kv_heads + kv_head) * 2 + static_cast<size_t>(part)];
  }
  bool chooses_bits() const { return bytes > 0; }
  int32_t group_count() const;
  // columns[c] = row of the span in column c; group g is columns[begin[g]] .. columns[begin[g + 1] - 1].
  std::vector<int32_t> Columns() const;
  std::vector<int32_t> GroupBegins() const;
};

inline constexpr const char* kPackedVersion = "2";

// Takes an open file of version 2. Throws Error(kProfileInvalid) naming what does not fit.
PackedProfile ReadPackedProfile(ProfileReader& reader, const KvGeometry& geometry);
// Bases, templates and the transform are stored as 16-bit floats: what is read differs by that rounding.
void SavePackedProfile(const std::string& path, const PackedProfile& profile,
                       const ProfileMetadata& metadata);

}  // namespace kvcapsule
