// The Llama decoder: one graph a step, attention over the paged pool as custom operations in it.
#pragma once
#include <cstdint>
#include <functional>
#include <span>

#include "attention/paged_attention.h"
#include "backend/cpu_backend.h"
#include "model/text_ops.h"
#include "model/weights.h"

namespace kvcapsule {

// Rows of one step, checked already.
struct DecoderInput {
  std::span<const AttentionChunk> chunks;
  std::span<const int32_t> positions;                  // [rows]
  std::span<const int32_t> sampled_rows;               // ascending
  std::function<void(int32_t row, float* out)> embed;  // writes a row's [hidden] input
  // Sees the queries of every layer, [rows][heads][head_dim], once their keys are in the pool; or empty.
  std::function<void(int32_t layer, const AttentionShape& shape, const float* queries)> observe = {};
};

// Activations of a step of so many rows, the logits of its samples included, and what attention to as many whole
// contexts as there are samples is merged from.
int64_t DecoderScratchBytes(const TextConfig& text, int64_t rows, int64_t samples);

class Decoder {
 public:
  // Config and weights outlive the decoder.
  Decoder(const ModelConfig& config, const Weights& weights);

  // Writes the rows' keys and values into the pool; returns [sampled rows][vocab] logits, which stay readable
  // until the backend's next Compute. Throws Error(kEngineFailed).
  std::span<const float> Forward(const DecoderInput& input, const KvPool& pool, const SequenceTable& table,
                                 CpuBackend& backend);

 private:
  const ModelConfig& config_;
  const Weights& weights_;
  RopeTable rope_;
  CapsuleOperators operators_;
};

}  // namespace kvcapsule
