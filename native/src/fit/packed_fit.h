// Fits profiles of version 2 from streamed statistics. method.md, points 2, 7, 8 and 10.
#pragma once
#include <string>
#include <vector>

#include "fit/gram.h"
#include "kv/codec/packed/packed_profile.h"

namespace kvcapsule {

// Which rows a template comes off of before coding.
enum class TemplateKind {
  kNone,
  kMarkers,  // each marker row its own
  kGroup,    // markers their own, all other rows the mean of their group
  kAll,      // each row its own
};

enum class BasisKind {
  kPrincipal,  // eigenvectors of the residuals' Gram, strongest first
  kRows,       // rows themselves, drawn at random
};

enum class BitsKind {
  kPicture,  // by water-filling over each picture's own rows
  kStatic,   // by water-filling over the deviations of the fit
  kLeading,  // `bits` for each of the rows with most energy
  kEqual,    // `bits` for an equal share of every group's rows
};

struct PackedFitOptions {
  std::string codec = "capsule-mixed";
  std::vector<int32_t> groups;       // [n]
  std::vector<int32_t> marker_rows;  // ascending
  TemplateKind key_template = TemplateKind::kGroup, value_template = TemplateKind::kAll;
  bool rotate = true;  // channels by a random-sign Hadamard transform
  BasisKind basis = BasisKind::kPrincipal;
  BitsKind bits_kind = BitsKind::kPicture;
  int32_t bits = 0;   // 1 to 8 for kLeading and kEqual
  int64_t bytes = 0;  // of a capsule at most, header included
  // Of kPicture: rows that may gain bits in some picture are those that do when the bytes are so many times as
  // many; and what a row must be worth beside its bits, in bits a channel.
  double candidates = 1.5;
  float row_cost = 1;
  std::vector<double>
      sensitivities;  // [layer][kv head][keys, values]; empty: an error of one size costs the same in all
  std::vector<std::vector<float>> weights;  // w [n] of each part; empty: all rows alike
  float rope_theta = 0;
  uint64_t seed = 1;  // of signs and random rows
};

// From "none", "markers", "group", "all"; "principal", "rows"; "picture", "static", "leading", "equal". Throw
// Error(kConfigInvalid) for any other text.
TemplateKind ParseTemplate(const std::string& text);
BasisKind ParseBasis(const std::string& text);
BitsKind ParseBits(const std::string& text);

// Throws Error(kConfigInvalid) when the options do not fit the statistics or no row fits the bytes.
PackedProfile FitPacked(const GramAccumulator& statistics, const PackedFitOptions& options);

}  // namespace kvcapsule
