#include "kvcapsule/engine.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <unordered_map>

#include "attention/paged_attention.h"
#include "fit/gram.h"
#include "kv/codec/registry.h"
#include "model/decoder.h"
#include "model/image_encoder.h"
#include "model/step_check.h"
#include "model/step_sampling.h"

namespace kvcapsule {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void CheckOptions(const EngineOptions& options) {
  const auto require = [](bool holds, const char* problem) {
    if (!holds) throw Error(ErrorCode::kConfigInvalid, problem);
  };
  require(options.threads >= 0 && options.threads <= 512, "threads is outside 0 to 512");
  // page numbers are 32-bit
  require(options.pool_blocks >= 1 && options.pool_blocks <= INT32_MAX / KvGeometry::kPagesPerBlock,
          "poolBlocks is outside 1 to 268435455");
  require(options.max_slots >= 1, "maxSlots is below 1");
  require(options.max_step_tokens >= 1, "maxStepTokens is below 1");
}

KvGeometry Geometry(const TextConfig& text, Dtype dtype) {
  return {text.layers, text.kv_heads, text.head_dim, dtype};
}

class CpuEngine final : public Engine {
 public:
  explicit CpuEngine(const EngineOptions& options)
      : options_(options),
        config_(ReadModelConfig(options.model_dir)),
        backend_(options.threads > 0 ? options.threads : UsableThreads()),
        weights_(LoadWeights(options.model_dir, config_, options.weights, backend_)),
        tower_(config_, weights_),
        image_encoder_(config_, tower_),
        decoder_(config_, weights_),
        pool_(Geometry(config_.text, options.kv), options.pool_blocks),
        table_(&pool_, options.max_slots) {
    formats_ = OpenFormats(pool_.geometry(), options.profiles);
    DescribeModel();
  }

  const ModelInfo& info() const override { return info_; }
  ImageCutter image_cutter() const override { return image_encoder_.Cutter(); }
  int64_t EncodeSlice(std::span<const std::shared_ptr<ImageJob>> images, int64_t macs) override {
    return image_encoder_.EncodeSlice(images, macs, backend_);
  }
  EncodedImage KeepImage(ImageJob& image) override;
  void ReleaseImage(int32_t handle) override { images_.erase(handle); }
  StepResult Step(const StepPlan& plan) override;
  std::vector<uint8_t> ReadPages(std::span<const int32_t> pages) const override;
  void WritePages(std::span<const int32_t> pages, std::span<const uint8_t> bytes) override;
  std::vector<float> ReadRows(int32_t slot, int32_t segment) const override;
  void AddToGram(int32_t slot, int32_t segment, std::span<const int32_t> covered) override;
  void Fit(const FitRequest& request) override;

 private:
  void DescribeModel();
  void CheckImages(const StepPlan& plan) const;
  void Embed(const StepPlan& plan, int32_t row, float* out) const;
  // Moves the tables' token counts by the chunks' rows, forwards or back.
  void CountTokens(const std::vector<AttentionChunk>& chunks, int32_t sign);
  // Fills `queries`, which has room for them, when the plan wants them.
  std::span<const float> Forward(const StepPlan& plan, const std::vector<AttentionChunk>& chunks,
                                 std::span<float> queries);

  const EngineOptions options_;
  const ModelConfig config_;
  CpuBackend backend_;
  const Weights weights_;
  const VisionTower tower_;
  ImageEncoder image_encoder_;
  Decoder decoder_;
  KvPool pool_;
  SequenceTable table_;
  std::vector<std::shared_ptr<const KvFormat>> formats_;
  ModelInfo info_;
  std::unordered_map<int32_t, std::vector<float>> images_;  // handle -> [tokens][hidden]
  int32_t next_handle_ = 0;
  std::map<int32_t, GramAccumulator> grams_;  // by covered tokens
};

void CpuEngine::DescribeModel() {
  info_.family = "idefics3";
  info_.vocab = config_.text.vocab;
  info_.context_tokens = config_.text.context_tokens;
  info_.image_token_id = config_.image_token_id;
  info_.heads = config_.text.heads;
  info_.kv = pool_.geometry();
  info_.tokens_per_tile = config_.tokens_per_tile();
  info_.feature_bytes = config_.text.hidden * int64_t{sizeof(float)};
  info_.weight_bytes = weights_.bytes;
  for (const auto& format : formats_) {
    const FormatInfo& info = format->info();
    ModelInfo::Format entry{info.codec,        info.profile_id, info.tokens,
                            info.marker_rows,  0,               0,
                            info.bytes_per_token, info.header_bytes};
    if (info.tokens > 0) {
      entry.pages = format->Pages(info.tokens);
      entry.bytes = format->Bytes(info.tokens);
    }
    info_.formats.push_back(std::move(entry));
  }
}

EncodedImage CpuEngine::KeepImage(ImageJob& image) {
  auto& job = static_cast<ImageTilesJob&>(image);
  EncodedImage kept;
  kept.rows = job.split.rows;
  kept.cols = job.split.cols;
  kept.tokens = static_cast<int32_t>(job.split.tiles.size()) * info_.tokens_per_tile;
  while (images_.contains(next_handle_)) next_handle_ = next_handle_ == INT32_MAX ? 0 : next_handle_ + 1;
  kept.handle = next_handle_;
  next_handle_ = next_handle_ == INT32_MAX ? 0 : next_handle_ + 1;
  images_.emplace(kept.handle, std::move(job.features));
  return kept;
}

void CpuEngine::CheckImages(const StepPlan& plan) const {
  for (size_t row = 0; row < plan.image_handles.size(); ++row) {
    const int32_t handle = plan.image_handles[row], image_row = plan.image_rows[row];
    if (handle == -1) continue;
    const auto found = images_.find(handle);
    if (found == images_.end()) {
      throw Error(ErrorCode::kPlanInvalid,
                  "step plan: image_handles[" + std::to_string(row) + "] is not a picture");
    }
    const auto rows = static_cast<int64_t>(found->second.size()) / config_.text.hidden;
    if (image_row < 0 || image_row >= rows) {
      throw Error(ErrorCode::kPlanInvalid,
                  "step plan: image_rows[" + std::to_string(row) + "] is outside the picture");
    }
  }
}

void CpuEngine::Embed(const StepPlan& plan, int32_t row, float* out) const {
  const int64_t hidden = config_.text.hidden;
  if (plan.image_handles[row] >= 0) {
    const std::vector<float>& features = images_.at(plan.image_handles[row]);
    std::memcpy(out, &features[plan.image_rows[row] * hidden], hidden * sizeof(float));
    return;
  }
  const ggml_tensor* table = weights_.token_embedding;
  const auto* in = static_cast<const uint8_t*>(table->data) + plan.tokens[row] * table->nb[1];
  if (table->type == GGML_TYPE_F32) {
    std::memcpy(out, in, hidden * sizeof(float));
  } else {
    ggml_get_type_traits(table->type)->to_float(in, out, hidden);
  }
}

void CpuEngine::CountTokens(const std::vector<AttentionChunk>& chunks, int32_t sign) {
  for (const AttentionChunk& chunk : chunks) {
    std::get<RawSegment>(table_.at(chunk.slot).segments[chunk.segment]).tokens += sign * chunk.rows;
  }
}

std::span<const float> CpuEngine::Forward(const StepPlan& plan, const std::vector<AttentionChunk>& chunks,
                                          std::span<float> queries) {
  DecoderInput input{chunks, plan.positions, plan.samples,
                     [&](int32_t row, float* out) { Embed(plan, row, out); }};
  if (plan.return_queries) {
    input.observe = [&](int32_t layer, const AttentionShape& shape, const float* from) {
      const int64_t floats = int64_t{shape.heads} * config_.text.head_dim;
      float* to = queries.data() + layer * plan.samples.size() * floats;
      for (const int32_t row : plan.samples) to = std::copy_n(from + row * floats, floats, to);
    };
  }
  CountTokens(chunks, 1);
  try {
    return decoder_.Forward(input, pool_, table_, backend_);
  } catch (...) {
    CountTokens(chunks, -1);
    throw;
  }
}

StepResult CpuEngine::Step(const StepPlan& plan) {
  CheckPlan(plan, {options_.max_step_tokens, config_.text.vocab, config_.text.context_tokens});
  CheckImages(plan);
  StepResult result;
  const auto start = Clock::now();
  table_.Apply(plan.ops, formats_);
  result.compress_seconds = SecondsSince(start);
  if (plan.tokens.empty()) return result;
  const std::vector<AttentionChunk> chunks = ResolveChunks(plan, table_);
  const auto forward_start = Clock::now();
  if (plan.return_queries) {
    const TextConfig& text = config_.text;
    result.queries.resize(plan.samples.size() * text.layers * text.heads * text.head_dim);
  }
  const std::span<const float> logits = Forward(plan, chunks, result.queries);
  SampleRows(plan, logits, config_.text.vocab, result);
  result.forward_seconds = SecondsSince(forward_start);
  if (plan.return_logits) result.logits.assign(logits.begin(), logits.end());
  return result;
}

std::vector<uint8_t> CpuEngine::ReadPages(std::span<const int32_t> pages) const {
  std::vector<uint8_t> bytes(pages.size() * pool_.geometry().PageBytes());
  pool_.ReadPages(pages, bytes);
  return bytes;
}

void CpuEngine::WritePages(std::span<const int32_t> pages, std::span<const uint8_t> bytes) {
  pool_.WritePages(pages, bytes);
}

std::vector<float> CpuEngine::ReadRows(int32_t slot, int32_t segment) const {
  const std::vector<Segment>& segments = table_.at(slot).segments;
  if (segment < 0 || static_cast<size_t>(segment) >= segments.size())
    throw Error(ErrorCode::kPlanInvalid, "read rows: no such segment");
  return ReadSegmentRows(pool_, segments[segment]);
}

void CpuEngine::AddToGram(int32_t slot, int32_t segment, std::span<const int32_t> covered) {
  const auto fail = [](const char* problem) {
    throw Error(ErrorCode::kPlanInvalid, std::string("gram: ") + problem);
  };
  if (!table_.contains(slot)) fail("the slot is not open");
  const std::vector<Segment>& segments = table_.at(slot).segments;
  if (segment < 0 || static_cast<size_t>(segment) >= segments.size()) fail("no such segment");
  const auto* raw = std::get_if<RawSegment>(&segments[segment]);
  if (!raw) fail("the segment is not raw");
  if (covered.empty()) fail("no rows are covered");
  for (size_t i = 0; i < covered.size(); ++i) {
    if (covered[i] < 0 || covered[i] >= raw->tokens) fail("a covered row is outside the segment");
    if (i > 0 && covered[i] <= covered[i - 1]) fail("covered rows do not ascend");
  }
  const auto tokens = static_cast<int32_t>(covered.size());
  grams_.try_emplace(tokens, pool_.geometry(), tokens)
      .first->second.Add(pool_, *raw, {covered.begin(), covered.end()});
}

void CpuEngine::Fit(const FitRequest& request) {
  if (grams_.size() != 1) {
    throw Error(ErrorCode::kConfigInvalid, grams_.empty()
                                               ? "fit: no picture has been added"
                                               : "fit: pictures of different numbers of tokens were added");
  }
  if (request.retention.size() != static_cast<size_t>(config_.text.layers)) {
    throw Error(ErrorCode::kConfigInvalid, "fit: retention does not have one number a layer");
  }
  for (const float retention : request.retention) {
    if (!(retention > 0 && retention <= 1))
      throw Error(ErrorCode::kConfigInvalid, "fit: a retention is outside (0, 1]");
  }
  GramAccumulator::FitOptions options;
  options.retention = request.retention;
  SaveProfile(request.path, grams_.begin()->second.Fit(options), request.metadata);
}

}  // namespace

EncodedImage Engine::EncodeImage(const uint8_t* rgb, int32_t width, int32_t height) {
  const std::shared_ptr<ImageJob> image = image_cutter()(rgb, width, height);
  while (EncodeSlice({&image, 1}, INT64_MAX) > 0) continue;
  return KeepImage(*image);
}

std::unique_ptr<Engine> Engine::Create(const EngineOptions& options) {
  CheckOptions(options);
  return std::make_unique<CpuEngine>(options);
}

}  // namespace kvcapsule
