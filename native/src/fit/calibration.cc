#include "kvcapsule/calibration.h"

#include <random>
#include <set>

#include "attention/paged_attention.h"
#include "common/half.h"
#include "fit/attention_statistics.h"
#include "fit/gram.h"
#include "fit/packed_fit.h"
#include "fit/piece_fit.h"
#include "fit/statistics_file.h"
#include "kv/sequence_table.h"

namespace kvcapsule {
namespace {

class EngineCalibration final : public Calibration {
 public:
  explicit EngineCalibration(Engine& engine) : engine_(engine), internals_(engine.internals()) {}
  ~EngineCalibration() override { engine_.ObserveQueries(nullptr); }

  void AddToGram(int32_t slot, int32_t segment, std::span<const int32_t> covered) override;
  void Observe(std::span<const int32_t> slots, int32_t segment) override;
  double Perturb(const PerturbRequest& request) override;
  void Fit(const FitRequest& request) override;
  void FitPacked(const PackedFitRequest& request) override;
  void FitPieces(const PieceFitRequest& request) override;
  void SaveStatistics(const std::string& path) const override;
  std::vector<int32_t> LoadStatistics(const std::string& path) override;

 private:
  const RawSegment& RawSpan(int32_t slot, int32_t segment) const;
  const GramAccumulator& Gram(int32_t tokens) const;
  PackedFitOptions FitOptions(const PackedFitRequest& request) const;
  // Adds the queries of observed slots to the statistics of their spans.
  void AddQueries(std::span<const AttentionChunk> chunks, int32_t layer, const AttentionShape& shape,
                  const float* queries);

  Engine& engine_;
  const EngineInternals internals_;
  Statistics statistics_;  // by covered tokens
  std::set<int32_t> observed_slots_;
  int32_t observed_segment_ = 0;
};

const RawSegment& EngineCalibration::RawSpan(int32_t slot, int32_t segment) const {
  const auto fail = [](const char* problem) {
    throw Error(ErrorCode::kPlanInvalid, std::string("span: ") + problem);
  };
  if (!internals_.table.contains(slot)) fail("the slot is not open");
  const std::vector<Segment>& segments = internals_.table.at(slot).segments;
  if (segment < 0 || static_cast<size_t>(segment) >= segments.size()) fail("no such segment");
  const auto* raw = std::get_if<RawSegment>(&segments[segment]);
  if (!raw) fail("the segment is not raw");
  return *raw;
}

void EngineCalibration::AddToGram(int32_t slot, int32_t segment, std::span<const int32_t> covered) {
  const auto fail = [](const char* problem) {
    throw Error(ErrorCode::kPlanInvalid, std::string("gram: ") + problem);
  };
  const RawSegment* raw = &RawSpan(slot, segment);
  if (covered.empty()) fail("no rows are covered");
  for (size_t i = 0; i < covered.size(); ++i) {
    if (covered[i] < 0 || covered[i] >= raw->tokens) fail("a covered row is outside the segment");
    if (i > 0 && covered[i] <= covered[i - 1]) fail("covered rows do not ascend");
  }
  const auto tokens = static_cast<int32_t>(covered.size());
  statistics_.grams.try_emplace(tokens, internals_.pool.geometry(), tokens, internals_.model.text.rope_theta)
      .first->second.Add(internals_.pool, *raw, {covered.begin(), covered.end()},
                         TokensBefore(internals_.table.at(slot), segment));
}

const GramAccumulator& EngineCalibration::Gram(int32_t tokens) const {
  const auto found = statistics_.grams.find(tokens);
  if (found == statistics_.grams.end()) {
    throw Error(ErrorCode::kConfigInvalid,
                "fit: no picture of " + std::to_string(tokens) + " covered tokens has been added");
  }
  return found->second;
}

void EngineCalibration::SaveStatistics(const std::string& path) const { kvcapsule::SaveStatistics(path, statistics_); }

std::vector<int32_t> EngineCalibration::LoadStatistics(const std::string& path) {
  statistics_ = kvcapsule::LoadStatistics(path, internals_.pool.geometry(), internals_.model.text.rope_theta);
  std::vector<int32_t> grids;
  for (const auto& [tokens, gram] : statistics_.grams) {
    grids.push_back(tokens);
    grids.push_back(static_cast<int32_t>(gram.pictures()));
  }
  return grids;
}

void EngineCalibration::Observe(std::span<const int32_t> slots, int32_t segment) {
  for (const int32_t slot : slots) {
    const RawSegment& raw = RawSpan(slot, segment);
    statistics_.attention.try_emplace(raw.tokens, internals_.pool.geometry(), raw.tokens);
  }
  observed_slots_ = {slots.begin(), slots.end()};
  observed_segment_ = segment;
  if (observed_slots_.empty()) return engine_.ObserveQueries(nullptr);
  engine_.ObserveQueries([this](std::span<const AttentionChunk> chunks, int32_t layer, const AttentionShape& shape,
                                const float* queries) { AddQueries(chunks, layer, shape, queries); });
}

void EngineCalibration::AddQueries(std::span<const AttentionChunk> chunks, int32_t layer,
                                   const AttentionShape& shape, const float* queries) {
  for (const AttentionChunk& chunk : chunks) {
    if (!observed_slots_.contains(chunk.slot) || chunk.segment <= observed_segment_) continue;
    const Sequence& sequence = internals_.table.at(chunk.slot);
    const auto& span = std::get<RawSegment>(sequence.segments[observed_segment_]);
    statistics_.attention.at(span.tokens).Add(internals_.pool, sequence, observed_segment_, chunk, shape, layer, queries);
  }
}

double EngineCalibration::Perturb(const PerturbRequest& request) {
  const RawSegment& raw = RawSpan(request.slot, request.segment);
  const auto gram = statistics_.grams.find(raw.tokens);
  const KvGeometry& geometry = internals_.pool.geometry();
  if (gram == statistics_.grams.end() || request.layer < 0 || request.layer >= geometry.layers || request.kv_head < 0 ||
      request.kv_head >= geometry.kv_heads) {
    throw Error(ErrorCode::kPlanInvalid, "perturb: no statistics of such a part");
  }
  const int32_t number =
      (request.layer * geometry.kv_heads + request.kv_head) * 2 + static_cast<int32_t>(request.part);
  const auto observed = statistics_.attention.find(raw.tokens);
  const std::vector<float> weights = observed == statistics_.attention.end() ? std::vector<float>(raw.tokens, 1.0f)
                                                                  : observed->second.Weights(number);
  std::mt19937_64 rng(request.seed);
  std::normal_distribution<float> noise;
  const auto size = static_cast<float>(request.relative * gram->second.Deviation(number));
  std::vector<float> row(geometry.head_dim);
  double squares = 0;
  for (int32_t i = 0; i < raw.tokens; ++i) {
    uint8_t* bytes = internals_.pool.Tile(raw.blocks[i / KvGeometry::kBlockTokens], request.layer, request.part,
                                          request.kv_head) +
                     i % KvGeometry::kBlockTokens * geometry.RowBytes();
    ToFloat(geometry.dtype, bytes, geometry.head_dim, row.data());
    for (float& x : row) {
      const float added = size * noise(rng);
      squares += static_cast<double>(added) * added;
      x += added / weights[i];
    }
    FromFloat(geometry.dtype, row.data(), geometry.head_dim, bytes);
  }
  return squares;
}

PackedFitOptions EngineCalibration::FitOptions(const PackedFitRequest& request) const {
  PackedFitOptions options;
  options.codec = request.codec;
  options.groups = request.groups;
  options.marker_rows = request.marker_rows;
  options.key_template = ParseTemplate(request.key_template);
  options.value_template = ParseTemplate(request.value_template);
  options.rotate = request.rotate;
  options.basis = ParseBasis(request.basis);
  options.bits_kind = ParseBits(request.allocation);
  options.bits = request.bits;
  options.bytes = request.bytes;
  options.candidates = request.candidates;
  options.row_cost = request.row_cost;
  options.sensitivities = request.sensitivities;
  options.rope_theta = internals_.model.text.rope_theta;
  return options;
}

void EngineCalibration::FitPacked(const PackedFitRequest& request) {
  PackedFitOptions options = FitOptions(request);
  const auto tokens = static_cast<int32_t>(options.groups.size());
  const auto observed = statistics_.attention.find(tokens);
  if (request.weigh_rows && observed != statistics_.attention.end()) {
    for (int32_t part = 0; part < 2 * internals_.model.text.layers * internals_.model.text.kv_heads; ++part)
      options.weights.push_back(observed->second.Weights(part));
  }
  SavePackedProfile(request.path, kvcapsule::FitPacked(Gram(tokens), options), request.metadata);
}

void EngineCalibration::FitPieces(const PieceFitRequest& request) {
  PieceFitOptions options;
  options.packed = FitOptions(request.packed);
  options.weigh_rows = request.packed.weigh_rows;
  options.kind_rows = request.kind_rows;
  options.kind_markers = request.kind_markers;
  options.sites = request.sites;
  const auto all = static_cast<int32_t>(request.layouts.size());
  for (size_t l = 0; l < request.layout_bytes.size(); ++l) {
    if (request.layout_begins.size() != request.layout_bytes.size() + 1 || request.layout_begins[l] < 0 ||
        request.layout_begins[l + 1] < request.layout_begins[l] || request.layout_begins[l + 1] > all)
      throw Error(ErrorCode::kConfigInvalid, "fit: layouts do not follow each other");
    const auto sites = request.layouts.begin();
    options.layouts.push_back(
        {{sites + request.layout_begins[l], sites + request.layout_begins[l + 1]}, request.layout_bytes[l]});
  }
  std::vector<GridStatistics> grids;
  for (const auto& [tokens, gram] : statistics_.grams) {
    const auto observed = statistics_.attention.find(tokens);
    grids.push_back({&gram, observed == statistics_.attention.end() ? nullptr : &observed->second});
  }
  SavePieceProfile(request.packed.path, kvcapsule::FitPieces(grids, options), request.packed.metadata);
}

void EngineCalibration::Fit(const FitRequest& request) {
  const GramAccumulator& gram = Gram(request.tokens);
  if (request.retention.size() != static_cast<size_t>(internals_.model.text.layers)) {
    throw Error(ErrorCode::kConfigInvalid, "fit: retention does not have one number a layer");
  }
  for (const float retention : request.retention) {
    if (!(retention > 0 && retention <= 1))
      throw Error(ErrorCode::kConfigInvalid, "fit: a retention is outside (0, 1]");
  }
  GramAccumulator::FitOptions options;
  options.retention = request.retention;
  SaveProfile(request.path, gram.Fit(options), request.metadata);
}

}  // namespace

std::unique_ptr<Calibration> Calibration::Create(Engine& engine) { return std::make_unique<EngineCalibration>(engine); }

}  // namespace kvcapsule
