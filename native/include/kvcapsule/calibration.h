// Fitting of profiles: what is gathered from an engine's raw spans, and what is fitted from it. Beside serving, on the
// engine's thread.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvcapsule/engine.h"

namespace kvcapsule {

struct FitRequest {
  int32_t tokens = 0;            // covered, of the pictures that count
  std::vector<float> retention;  // [layers]
  std::string path;              // where the profile goes
  std::vector<std::pair<std::string, std::string>> metadata;
};

// One part of one layer and KV head of a raw span.
struct PerturbRequest {
  int32_t slot = 0, segment = 0;
  int32_t layer = 0, kv_head = 0;
  KvPart part = KvPart::kKey;
  double relative = 0;  // negative takes the same noise off; of the part's deviation over the pictures added so far
  uint64_t seed = 0;
};

// A profile of version 2; src/fit/packed_fit.h says what each choice means.
struct PackedFitRequest {
  std::string codec;                                // "capsule-q8", "capsule-q4", "capsule-mixed"
  std::vector<int32_t> groups;                      // [n]
  std::vector<int32_t> marker_rows;                 // ascending
  std::string key_template, value_template;         // "none", "markers", "group", "all"
  bool rotate = true;
  bool weigh_rows = true;                           // by the attention that was observed
  std::string basis;                                // "principal", "rows"
  std::string allocation;                           // "picture", "static", "leading", "equal"
  int32_t bits = 0;                                 // of a row, for "leading" and "equal"
  int64_t bytes = 0;                                // of a capsule at most
  double candidates = 0;                            // for "picture", as is row_cost
  float row_cost = 0;                               // bits a channel
  std::vector<double> sensitivities;                // [layer][kv head][keys, values], or empty
  std::string path;                                 // where the profile goes
  std::vector<std::pair<std::string, std::string>> metadata;
};

// A profile of version 3, of everything added; src/fit/piece_fit.h says what each part means.
struct PieceFitRequest {
  PackedFitRequest packed;  // its groups, marker rows and bytes are not used
  std::vector<int32_t> kind_rows, kind_markers;  // [kinds]
  std::vector<int32_t> sites;                    // [sites]
  std::vector<int32_t> layouts;                  // sites of all layouts, one after the other
  std::vector<int32_t> layout_begins;            // [layouts + 1]
  std::vector<int32_t> layout_bytes;             // [layouts]; 0: not to be served
};

// Not thread-safe: called between the engine's steps, on its thread.
class Calibration {
 public:
  // The engine outlives it, and has one of them.
  static std::unique_ptr<Calibration> Create(Engine& engine);
  virtual ~Calibration() = default;

  // Adds a sequence's raw segment to the statistics of spans with covered.size() tokens. Throws Error(kPlanInvalid)
  // without such a segment, or where covered rows lie outside it or do not ascend.
  virtual void AddToGram(int32_t slot, int32_t segment, std::span<const int32_t> covered) = 0;
  // From now on the rows that these slots append after their raw segment `segment` tell how much its rows are attended
  // to. No slots: none any more.
  virtual void Observe(std::span<const int32_t> slots, int32_t segment) = 0;
  // Adds Gaussian noise to a raw span's rows, each row's divided by its weight, and returns the squared size of the
  // noise before that. Statistics of spans with as many rows must have been gathered.
  virtual double Perturb(const PerturbRequest& request) = 0;
  // Fit from what was added so far, of one grid (told by its covered tokens) or of all; they write the file.
  virtual void Fit(const FitRequest& request) = 0;
  virtual void FitPacked(const PackedFitRequest& request) = 0;
  virtual void FitPieces(const PieceFitRequest& request) = 0;
  // What has been gathered to a file and back; loading gives the numbers of tokens and of pictures of each grid, one
  // after the other, and replaces what there is. Throws Error(kConfigInvalid).
  virtual void SaveStatistics(const std::string& path) const = 0;
  virtual std::vector<int32_t> LoadStatistics(const std::string& path) = 0;
};

}  // namespace kvcapsule
