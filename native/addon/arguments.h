// JavaScript values to plain structs, checked. Everything here throws Napi::TypeError.
#pragma once
#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kvcapsule/calibration.h"
#include "kvcapsule/engine.h"

namespace kvcapsule::addon {

// A step plan that owns its arrays.
struct OwnedPlan {
  std::vector<int32_t> ops, chunks, tokens, positions, image_handles, image_rows, samples, top_k;
  std::vector<float> temperature, top_p;
  std::vector<uint64_t> seed;
  bool return_logits = false, return_queries = false;
  std::vector<float> min_p, penalty_factors, bias_values;
  std::vector<int32_t> top_logprobs, penalty_samples, penalty_offsets, penalty_tokens, penalty_counts;
  std::vector<int32_t> bias_samples, bias_offsets, bias_tokens, mask_samples;
  std::vector<uint32_t> mask_bits;

  StepPlan View() const;
};

EngineOptions ReadEngineOptions(const Napi::Value& value);
MemoryOptions ReadMemoryOptions(const Napi::Value& value);
OwnedPlan ReadPlan(const Napi::Value& value);
std::string ReadString(const Napi::Value& value, const char* name);
FitRequest ReadFitRequest(const Napi::Value& value);
PackedFitRequest ReadPackedFitRequest(const Napi::Value& value);
PieceFitRequest ReadPieceFitRequest(const Napi::Value& value);
PerturbRequest ReadPerturbRequest(const Napi::Value& value);
// A whole number in [low, high].
int64_t ReadInteger(const Napi::Value& value, const char* name, int64_t low, int64_t high);
std::vector<int32_t> ReadInt32Array(const Napi::Value& value, const char* name);
std::vector<uint8_t> ReadBytes(const Napi::Value& value, const char* name);
// Exactly width * height * 3 bytes, not copied.
Napi::Uint8Array ReadPixels(const Napi::Value& value, int64_t width, int64_t height);

}  // namespace kvcapsule::addon
