// The engine: a model folder, a paged pool and one step at a time. Not thread-safe except where said:
// the addon calls it from one engine thread.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvcapsule/error.h"
#include "kvcapsule/kv_geometry.h"
#include "kvcapsule/model_config.h"
#include "kvcapsule/weight_type.h"

namespace kvcapsule {

struct EngineOptions {
  std::string model_dir;              // Hugging Face folder: of it *.safetensors alone are read
  ModelConfig model;
  WeightType weights = WeightType::kF32;  // type the matrices are converted to at load
  Dtype kv = Dtype::kF16;                 // type of raw rows in the pool
  int32_t threads = 0;                // 0: as many as the process may run on
  int64_t pool_blocks = 0;            // blocks of 16 tokens
  int32_t max_slots = 256;            // sequences that may be open at once
  int32_t max_step_tokens = 2048;     // rows of one step
  std::vector<std::string> profiles;  // files, in the order of their formats
};

// What an engine's memory depends on, but for the size of its pool.
struct MemoryOptions {
  ModelConfig model;
  WeightType weights = WeightType::kF32;
  Dtype kv = Dtype::kF16;
  int32_t max_slots = 256;
  int32_t threads = 0;
  int32_t max_step_tokens = 2048;
  int64_t tiles = 1;  // of the pictures that may be encoded at once
  std::vector<std::string> profiles;  // files, as in EngineOptions
};

// Bytes of an engine in which everything is full.
struct MemoryNeed {
  int64_t weights = 0;
  int64_t block = 0;      // each of the pool's blocks
  int64_t workspace = 0;  // of the largest step or of the largest slice of pictures
  int64_t threads = 0;    // what each computes in, and tables that all read
  int64_t tiles = 0;      // pixels and features of the pictures that are encoded at once
  int64_t profiles = 0;   // bases and templates, as encoding, decoding and attention read them
};

// Reads the profiles and no other file. Throws Error(kModelInvalid | kProfileInvalid).
MemoryNeed DescribeMemory(const MemoryOptions& options);

struct ModelInfo {
  int32_t vocab = 0, context_tokens = 0, image_token_id = -1;
  int32_t heads = 0;
  KvGeometry kv;
  int32_t tokens_per_tile = 0;  // visual tokens of one tile, after pixel shuffle
  int64_t feature_bytes = 0;    // of one visual token's features, while a picture is kept
  int64_t weight_bytes = 0;
  // Number of a format = its place here, which kCompress names: q8 and q4, then those of each profile file.
  struct Format {
    std::string codec;       // "q8", "q4", "capsule", ...
    std::string profile_id;  // empty without a profile
    int32_t profile_file = -1;  // place of its file in EngineOptions::profiles; -1: none
    int32_t tokens = 0;      // rows that one capsule covers; 0: any number
    std::vector<int32_t> marker_rows;  // rows of the span that are markers and covered; ascending
    int32_t pages = 0;                 // of one capsule; 0 where tokens is 0
    int64_t bytes = 0;                 // likewise
    int64_t bytes_per_token = 0;       // where tokens is 0: n tokens take header_bytes + n * bytes_per_token
    int64_t header_bytes = 0;
    double macs_share = 1;             // multiply-adds of a query row, as a share of raw rows'
  };
  std::vector<Format> formats;
};

// Features of one picture, kept by the engine until released: [tokens][hidden].
struct EncodedImage {
  int32_t handle = 0;
  int32_t tokens = 0;          // visual tokens, markers not counted
  int32_t rows = 0, cols = 0;  // grid of tiles; 0 x 0 = one tile, not split
};

// What is seen and said of a picture while it is computed; for any thread.
struct ImageWatch {
  std::atomic<bool> cancelled = false;  // nobody wants its features any more
  std::atomic<float> share = 0;         // of its layers that are computed
};

// A picture between its pixels and its features, which are computed in slices.
class ImageJob {
 public:
  std::shared_ptr<ImageWatch> watch = std::make_shared<ImageWatch>();

  virtual ~ImageJob() = default;
  virtual bool complete() const = 0;
};

// Resizes, splits and normalises upright 8-bit RGB, [height][width][3], as the model's image processor in
// transformers does. For any thread, beside the engine's own calls and after its end.
using ImageCutter =
    std::function<std::shared_ptr<ImageJob>(const uint8_t* rgb, int32_t width, int32_t height)>;

// Sampling features that few samples use. Every part may be left empty; `samples` name the ones that use it,
// by index and ascending, and [n] counts those.
struct SampleFeatures {
  // Least probability as a share of the likeliest token's, 0 = off: [all samples].
  std::span<const float> min_p;
  // How many of the likeliest tokens are reported beside the sampled one, 0 to 20; -1: no log-probability at
  // all: [all samples].
  std::span<const int32_t> top_logprobs;
  struct Penalties {
    std::span<const int32_t> samples;
    std::span<const float> factors;    // [n][3]: presence, frequency, repetition (1 = off)
    std::span<const int32_t> offsets;  // [n + 1] into tokens
    // That occurred, each once a sample. The engine adds a kTokenDrawnBefore of the sample's row.
    std::span<const int32_t> tokens;
    std::span<const int32_t> counts;  // how often in the answer; 0: in the prompt alone
  } penalties;
  struct Bias {
    std::span<const int32_t> samples;
    std::span<const int32_t> offsets;  // [n + 1] into tokens
    std::span<const int32_t> tokens;   // ascending in each sample
    std::span<const float> values;     // added to the logit; -infinity forbids the token
  } bias;
  struct Masks {
    std::span<const int32_t> samples;
    std::span<const uint32_t> bits;  // [n][ceil(vocab / 32)], lowest bit first: 1 allows a token
  } masks;
};

// In a plan's tokens: what the step before drew for this slot and position. So a plan can be made, and
// queued, while that step runs.
constexpr int32_t kTokenDrawnBefore = -1;

// All sequences' work of one step. Arrays belong to the caller and live until Step returns.
struct StepPlan {
  std::span<const int32_t> ops;            // page deltas, see PageOp; applied before the forward pass
  std::span<const int32_t> chunks;         // [slot, segment, rows] each; rows are consecutive below
  std::span<const int32_t> tokens;         // [rows] token ids or kTokenDrawnBefore
  std::span<const int32_t> positions;      // [rows]
  std::span<const int32_t> image_handles;  // [rows] -1: the token's own embedding
  std::span<const int32_t> image_rows;     // [rows] row of the picture's features
  std::span<const int32_t> samples;        // row numbers whose next token is wanted, ascending
  std::span<const float> temperature;      // [samples] and so on
  std::span<const float> top_p;
  std::span<const int32_t> top_k;
  std::span<const uint64_t> seed;
  bool return_logits = false;   // also return [samples][vocab]
  bool return_queries = false;  // also return the samples' queries
  SampleFeatures features;
};

struct StepResult {
  std::vector<int32_t> tokens;  // [samples]
  // Of the raw distribution, before bias, penalties and truncation; never below -9999. Empty without
  // top_logprobs; for a sample that wants none (-1) the entry is 0.
  std::vector<float> logprobs;       // [samples]
  std::vector<int32_t> top_tokens;   // the samples' likeliest tokens one after the other, likeliest first
  std::vector<float> top_logprobs;   // theirs
  std::vector<float> logits;         // [samples][vocab] or empty
  std::vector<float> queries;        // [layers][samples][heads][head_dim], post-RoPE, or empty
  double compress_seconds = 0;  // spent in kCompress ops
  double forward_seconds = 0;
};

class KvPool;
class SequenceTable;
struct AttentionChunk;
struct AttentionShape;

// What an engine's calibration works with, between its steps.
struct EngineInternals {
  const ModelConfig& model;
  KvPool& pool;
  const SequenceTable& table;
};

// What a step's attention asks in one layer: queries [rows][heads][head_dim], post-RoPE, of the rows of all chunks.
using QueryObserver = std::function<void(std::span<const AttentionChunk> chunks, int32_t layer,
                                         const AttentionShape& shape, const float* queries)>;

class Engine {
 public:
  // Throws Error(kModelInvalid | kProfileInvalid | kConfigInvalid).
  static std::unique_ptr<Engine> Create(const EngineOptions& options);
  virtual ~Engine() = default;

  virtual const ModelInfo& info() const = 0;
  virtual ImageCutter image_cutter() const = 0;
  // Takes the first unfinished tiles of the pictures, in order and those of several together, through tower
  // and connector: about `macs` multiplications of it, but at least one layer of one tile. Features do not
  // depend on the slices. Returns the multiplications done; 0: every picture is complete. A slice that throws
  // leaves the pictures as they were before their unfinished tiles. Tiles of pictures that are all cancelled are
  // given up.
  virtual int64_t EncodeSlice(std::span<const std::shared_ptr<ImageJob>> images, int64_t macs) = 0;
  // Takes a complete picture's features over.
  virtual EncodedImage KeepImage(ImageJob& image) = 0;
  // A whole picture in one call.
  EncodedImage EncodeImage(const uint8_t* rgb, int32_t width, int32_t height);
  virtual void ReleaseImage(int32_t handle) = 0;
  // A failed step leaves the page tables as the ops made them and throws Error(kPlanInvalid) before
  // anything changed, or Error(kEngineFailed).
  virtual StepResult Step(const StepPlan& plan) = 0;
  // Bytes of whole pages in the order named, [pages][PageBytes()], for moving a sequence to another memory and
  // back. Throws Error(kPlanInvalid), nothing written: a page out of range or written twice, another length.
  virtual std::vector<uint8_t> ReadPages(std::span<const int32_t> pages) const = 0;
  virtual void WritePages(std::span<const int32_t> pages, std::span<const uint8_t> bytes) = 0;
  // Evaluation: a segment's rows as attention sees them, [layers][K,V][kv heads][tokens][head_dim]; of a capsule
  // as its format reconstructs them. Throws Error(kPlanInvalid) without such a segment.
  virtual std::vector<float> ReadRows(int32_t slot, int32_t segment) const = 0;
  // For the Calibration of this engine, which it outlives.
  virtual EngineInternals internals() = 0;
  // From the next step on; an empty one ends it. In a slot that is observed all segments are raw.
  virtual void ObserveQueries(QueryObserver observer) = 0;
};

}  // namespace kvcapsule
