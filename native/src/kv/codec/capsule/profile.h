// A fitted profile: what turns n rows into m and back. method.md, "What is stored".
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kv/codec/profile_file.h"
#include "kvcapsule/kv_geometry.h"

namespace kvcapsule {

// One layer and KV head.
struct CapsuleHead {
  int32_t rows = 0;               // m, the same for keys and values
  std::vector<int32_t> mask;      // [m] which of the n key rows are kept, ascending
  std::vector<float> theta;       // [m][n] K^ = theta^T K_c
  std::vector<float> basis;       // [m][n] U, orthonormal rows; V_c = U (V - 1 mu^T), V^ = U^T V_c + 1 mu^T
  std::vector<float> mean;        // [head_dim] mu
};

// For spans of exactly n covered tokens.
struct CapsuleProfile {
  std::string id;                 // name and content hash, for messages
  int32_t tokens = 0;             // n
  int32_t layers = 0, kv_heads = 0, head_dim = 0;
  std::vector<CapsuleHead> heads; // [layers * kv_heads], layer-major

  const CapsuleHead& head(int32_t layer, int32_t kv_head) const { return heads[layer * kv_heads + kv_head]; }
};

// Takes an open profile file of version 1. Throws Error(kProfileInvalid) naming what does not fit: geometry,
// version, a missing or misshapen tensor, a mask that is not ascending inside [0, n), values that are not
// finite. The caller has compared model_revision and the file's own content hash already.
CapsuleProfile ReadProfile(ProfileReader& reader, const KvGeometry& geometry);
void SaveProfile(const std::string& path, const CapsuleProfile& profile, const ProfileMetadata& metadata);

}  // namespace kvcapsule
