#include "kvcapsule/engine.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <unordered_map>

#include "attention/paged_attention.h"
#include "attention/operators.h"
#include "kv/codec/registry.h"
#include "model/decoder.h"
#include "model/drawn_tokens.h"
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

int32_t Threads(int32_t asked) { return asked > 0 ? asked : UsableThreads(); }

const ModelConfig& Checked(const ModelConfig& config) {
  CheckModelConfig(config);
  return config;
}

KvGeometry Geometry(const TextConfig& text, Dtype dtype) {
  return {text.layers, text.kv_heads, text.head_dim, dtype};
}

// What formats of these files hold, with their operators at all positions. They are made and let go again.
int64_t ProfileBytes(const KvGeometry& geometry, const std::vector<std::string>& profiles, int32_t context_tokens) {
  int64_t bytes = 0;
  CapsuleOperators operators;
  for (const auto& format : OpenFormats(geometry, profiles)) {
    bytes += format->MemoryBytes();
    operators.Prepare(format);
  }
  return bytes + operators.MemoryBytes(context_tokens);
}

// What one thread computes in.
int64_t ThreadBytes(const ModelConfig& config) {
  constexpr int64_t kStack = 256 << 10;      // touched
  constexpr int64_t kAttention = 1 << 20;    // panels of 64 tokens for 96 query rows, with all they are scored with
  const VisionConfig& vision = config.vision;
  const int64_t patches = int64_t{config.patches_per_side()} * config.patches_per_side();
  const int64_t shuffled = int64_t{vision.hidden} * config.scale_factor * config.scale_factor;
  const int64_t inputs = std::max<int64_t>({shuffled, vision.intermediate, config.text.intermediate, config.text.hidden});
  return kStack + kAttention + DenseScratchBytes(inputs) +
         TowerThreadBytes({1, patches, vision.heads, vision.hidden / vision.heads, ChosenTileProduct()});
}

int64_t TileBytes(const ModelConfig& config) {
  const int64_t edge = config.image.tile;
  return 3 * edge * edge + int64_t{config.tokens_per_tile()} * config.text.hidden * static_cast<int64_t>(sizeof(float));
}

class CpuEngine final : public Engine {
 public:
  explicit CpuEngine(const EngineOptions& options)
      : options_(options),
        config_(Checked(options.model)),
        backend_(Threads(options.threads)),
        weights_(LoadWeights(options.model_dir, config_, options.weights, backend_)),
        tower_(config_, weights_),
        image_encoder_(config_, tower_),
        decoder_(config_, weights_),
        pool_(Geometry(config_.text, options.kv), options.pool_blocks),
        table_(&pool_, options.max_slots) {
    std::vector<int32_t> files;
    formats_ = OpenFormats(pool_.geometry(), options.profiles, &files);
    DescribeModel(files);
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
  EngineInternals internals() override { return {config_, pool_, table_}; }
  void ObserveQueries(QueryObserver observer) override { observer_ = std::move(observer); }

 private:
  void DescribeModel(const std::vector<int32_t>& profile_files);
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
  DrawnTokens drawn_;
  QueryObserver observer_;
};

void CpuEngine::DescribeModel(const std::vector<int32_t>& profile_files) {
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
    ModelInfo::Format entry;
    entry.codec = info.codec;
    entry.profile_id = info.profile_id;
    entry.profile_file = profile_files[info_.formats.size()];
    entry.tokens = info.tokens;
    entry.marker_rows = info.marker_rows;
    entry.bytes_per_token = info.bytes_per_token;
    entry.header_bytes = info.header_bytes;
    entry.macs_share = info.macs_share;
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
  weights_.embedding().ReadOutput(plan.tokens[row], out);
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
  if (plan.return_queries || observer_) {
    input.observe = [&](int32_t layer, const AttentionShape& shape, const float* from) {
      if (observer_) observer_(chunks, layer, shape, from);
      if (!plan.return_queries) return;
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

StepResult CpuEngine::Step(const StepPlan& given) {
  StepPlan plan = given;
  const std::vector<int32_t> tokens = drawn_.Fill(given);
  plan.tokens = tokens;
  CheckPlan(plan, {options_.max_step_tokens, config_.text.vocab, config_.text.context_tokens});
  CheckImages(plan);
  StepResult result;
  const auto start = Clock::now();
  table_.Apply(plan.ops, formats_, [this](int32_t count, const auto& task) { backend_.Run(count, task); });
  result.compress_seconds = SecondsSince(start);
  if (plan.tokens.empty()) return result;
  drawn_.Clear();
  const std::vector<AttentionChunk> chunks = ResolveChunks(plan, table_);
  const auto forward_start = Clock::now();
  if (plan.return_queries) {
    const TextConfig& text = config_.text;
    result.queries.resize(plan.samples.size() * text.layers * text.heads * text.head_dim);
  }
  const std::span<const float> logits = Forward(plan, chunks, result.queries);
  SampleRows(given, tokens, logits, config_.text.vocab, result);
  drawn_.Keep(plan, chunks, result.tokens);
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

}  // namespace

EncodedImage Engine::EncodeImage(const uint8_t* rgb, int32_t width, int32_t height) {
  const std::shared_ptr<ImageJob> image = image_cutter()(rgb, width, height);
  while (EncodeSlice({&image, 1}, INT64_MAX) > 0) continue;
  return KeepImage(*image);
}

MemoryNeed DescribeMemory(const MemoryOptions& options) {
  const ModelConfig& config = Checked(options.model);
  MemoryNeed need;
  need.weights = WeightBytes(config, options.weights);
  need.block = Geometry(config.text, options.kv).BlockBytes();
  const int64_t together = std::min<int64_t>(options.tiles, MaxTowerTiles(config));
  need.workspace = std::max(DecoderScratchBytes(config.text, options.max_step_tokens, options.max_slots),
                            TowerScratchBytes(config, together));
  need.threads = Threads(options.threads) * ThreadBytes(config) + RopeTable::Bytes(config.text);
  need.tiles = options.tiles * TileBytes(config);
  need.profiles = ProfileBytes(Geometry(config.text, options.kv), options.profiles, config.text.context_tokens);
  return need;
}

std::unique_ptr<Engine> Engine::Create(const EngineOptions& options) {
  CheckOptions(options);
  return std::make_unique<CpuEngine>(options);
}

}  // namespace kvcapsule
