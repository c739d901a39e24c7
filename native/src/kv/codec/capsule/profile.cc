#include "kv/codec/capsule/profile.h"

#include <nlohmann/json.hpp>

#include "kv/codec/profile_file.h"

namespace kvcapsule {
namespace {

constexpr const char* kVersion = "1";
constexpr int32_t kMaxTokens = 1 << 16;

CapsuleHead ReadHead(ProfileReader& reader, int32_t layer, int32_t kv_head, int32_t tokens,
                     int32_t head_dim) {
  const std::string mask_name = HeadTensor(layer, kv_head, "mask");
  const std::vector<uint64_t> shape = reader.Shape(mask_name);
  if (shape.size() != 1 || shape[0] < 1 || shape[0] > static_cast<uint64_t>(tokens)) {
    reader.Fail("has a mask of no length between 1 and n: " + mask_name);
  }
  const uint64_t rows = shape[0], n = tokens;
  CapsuleHead head;
  head.rows = static_cast<int32_t>(rows);
  head.mask = reader.Integers(mask_name, {rows});
  for (size_t i = 0; i < head.mask.size(); ++i) {
    if (head.mask[i] < 0 || head.mask[i] >= tokens || (i > 0 && head.mask[i] <= head.mask[i - 1])) {
      reader.Fail("has a mask that is not ascending inside [0, n): " + mask_name);
    }
  }
  head.theta = reader.Floats(HeadTensor(layer, kv_head, "theta"), {rows, n});
  head.basis = reader.Floats(HeadTensor(layer, kv_head, "basis"), {rows, n});
  head.mean = reader.Floats(HeadTensor(layer, kv_head, "mean"), {static_cast<uint64_t>(head_dim)});
  return head;
}

// Rows kept over n, layer by layer, as fitted: "0.4007,0.25".
std::string RetentionText(const CapsuleProfile& profile) {
  nlohmann::json list = nlohmann::json::array();
  for (int32_t layer = 0; layer < profile.layers; ++layer) {
    list.push_back(static_cast<double>(profile.head(layer, 0).rows) / profile.tokens);
  }
  const std::string text = list.dump();
  return text.substr(1, text.size() - 2);
}

}  // namespace

CapsuleProfile ReadProfile(ProfileReader& reader, const KvGeometry& geometry) {
  if (reader.Text("version") != kVersion) reader.Fail("is of another version than " + std::string(kVersion));
  reader.Text("retention");
  CapsuleProfile profile;
  profile.tokens = reader.Integer("n", 1, kMaxTokens);
  profile.layers = geometry.layers;
  profile.kv_heads = geometry.kv_heads;
  profile.head_dim = geometry.head_dim;
  for (int32_t layer = 0; layer < geometry.layers; ++layer) {
    for (int32_t kv_head = 0; kv_head < geometry.kv_heads; ++kv_head)
      profile.heads.push_back(ReadHead(reader, layer, kv_head, profile.tokens, geometry.head_dim));
  }
  reader.End();
  profile.id = reader.Id();
  return profile;
}

void SaveProfile(const std::string& path, const CapsuleProfile& profile, const ProfileMetadata& metadata) {
  ProfileMetadata texts = {{"retention", RetentionText(profile)}};
  texts.insert(texts.end(), metadata.begin(), metadata.end());
  texts.emplace_back("n", std::to_string(profile.tokens));
  ProfileWriter writer;
  for (int32_t layer = 0; layer < profile.layers; ++layer) {
    for (int32_t kv_head = 0; kv_head < profile.kv_heads; ++kv_head) {
      const CapsuleHead& head = profile.head(layer, kv_head);
      writer.Add(HeadTensor(layer, kv_head, "mask"), {head.rows}, head.mask);
      writer.Add(HeadTensor(layer, kv_head, "theta"), {head.rows, profile.tokens}, head.theta);
      writer.Add(HeadTensor(layer, kv_head, "basis"), {head.rows, profile.tokens}, head.basis);
      writer.Add(HeadTensor(layer, kv_head, "mean"), {profile.head_dim}, head.mean);
    }
  }
  writer.WriteTo(path, kVersion, texts);
}

}  // namespace kvcapsule
