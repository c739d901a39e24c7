// Fits profiles of version 3 from the streamed statistics of pictures of any grids: what they have in common is pooled.
// method.md, points 5 and 10.
#pragma once
#include <span>
#include <vector>

#include "fit/attention_statistics.h"
#include "fit/gram.h"
#include "fit/packed_fit.h"
#include "kv/codec/packed/piece_profile.h"

namespace kvcapsule {

// Of the pictures of one grid.
struct GridStatistics {
  const GramAccumulator* rows = nullptr;
  const AttentionStatistics* attention = nullptr;  // null: not known
};

struct PieceFitOptions {
  PackedFitOptions packed;  // its groups, markers, weights and bytes are not used
  bool weigh_rows = true;   // by the attention that was observed
  std::vector<int32_t> kind_rows;     // [kinds] rows of a piece
  std::vector<int32_t> kind_markers;  // [kinds] 1: markers, 0: none
  std::vector<int32_t> sites;         // [sites] kind of each
  // One for each grid there are statistics of, told apart by their numbers of rows, and those to be served: with
  // bytes. Layouts of 0 bytes only say how statistics are cut.
  std::vector<PieceProfile::Layout> layouts;
};

// A site that no picture had takes the mean of its kind for its template. Throws Error(kConfigInvalid) when the options
// do not fit the statistics, or a kind of a layout that is to be served has never been seen.
PieceProfile FitPieces(std::span<const GridStatistics> grids, const PieceFitOptions& options);

}  // namespace kvcapsule
