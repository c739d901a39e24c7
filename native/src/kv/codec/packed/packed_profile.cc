#include "kv/codec/packed/packed_profile.h"

#include <algorithm>
#include <charconv>

namespace kvcapsule {
namespace {

constexpr int32_t kMaxTokens = 1 << 16;
constexpr const char* kCodecs[] = {"capsule-q8", "capsule-q4", "capsule-mixed"};
constexpr const char* kPartNames[] = {"keys", "values"};

std::string PartTensor(int32_t layer, int32_t kv_head, int32_t part, const char* what) {
  return HeadTensor(layer, kv_head, std::string(kPartNames[part]) + "." + what);
}

bool Ascending(const std::vector<int32_t>& rows, int32_t end) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= end || (i > 0 && rows[i] <= rows[i - 1])) return false;
  }
  return true;
}

// Rows of an optional list: absent is empty.
std::vector<int32_t> ReadRows(ProfileReader& reader, const char* name, int32_t tokens) {
  if (!reader.Has(name)) return {};
  const std::vector<uint64_t> shape = reader.Shape(name);
  if (shape.size() != 1 || shape[0] > static_cast<uint64_t>(tokens))
    reader.Fail(std::string("has more rows than n in ") + name);
  auto rows = reader.Integers(name, shape);
  if (!Ascending(rows, tokens)) reader.Fail(std::string("has rows that do not ascend inside [0, n) in ") + name);
  return rows;
}

std::vector<int32_t> ReadGroups(ProfileReader& reader, int32_t tokens) {
  auto groups = reader.Integers("groups", {static_cast<uint64_t>(tokens)});
  const int32_t count = *std::max_element(groups.begin(), groups.end()) + 1;
  if (*std::min_element(groups.begin(), groups.end()) < 0 || count > tokens)
    reader.Fail("has groups outside [0, n)");
  std::vector<bool> seen(count);
  for (const int32_t group : groups) seen[group] = true;
  if (std::find(seen.begin(), seen.end(), false) != seen.end()) reader.Fail("has an empty group");
  return groups;
}

void CheckBits(const ProfileReader& reader, const PackedPart& part, const std::string& name) {
  size_t row = 0;
  for (const int32_t rank : part.ranks) {
    for (int32_t r = 0; r < rank; ++r, ++row) {
      const bool descending = r == 0 || part.bits[row] <= part.bits[row - 1];
      if (part.bits[row] < 1 || part.bits[row] > 8 || !descending)
        reader.Fail("has bits that do not descend from 8 to 1 in " + name);
    }
  }
}

// What one part reads, with the extents that the profile fixes.
struct PartReader {
  ProfileReader& reader;
  const PackedProfile& profile;
  std::vector<int32_t> begins;
  int32_t layer, kv_head, part;

  std::string Name(const char* what) const { return PartTensor(layer, kv_head, part, what); }

  PackedPart Read() const {
    const auto n = static_cast<uint64_t>(profile.tokens), dim = static_cast<uint64_t>(profile.head_dim);
    PackedPart out;
    out.ranks = reader.Integers(Name("ranks"), {begins.size() - 1});
    uint64_t rank = 0, floats = 0;
    for (size_t g = 0; g + 1 < begins.size(); ++g) {
      const int32_t extent = begins[g + 1] - begins[g];
      if (out.ranks[g] < 0 || out.ranks[g] > extent)
        reader.Fail("has more basis rows than a group has rows in " + Name("ranks"));
      rank += out.ranks[g];
      floats += static_cast<uint64_t>(out.ranks[g]) * extent;
    }
    out.bits = reader.Bytes(Name("bits"), {rank});
    CheckBits(reader, out, Name("bits"));
    out.basis = reader.Floats(Name("basis"), {floats});
    out.transform = reader.Floats(Name("transform"), {dim, dim});
    out.weights = reader.Floats(Name("weights"), {n});
    if (!std::all_of(out.weights.begin(), out.weights.end(), [](float w) { return w > 1e-6f && w < 1e6f; }))
      reader.Fail("has row weights that are not between 1e-6 and 1e6 in " + Name("weights"));
    if (reader.Has(Name("offset"))) out.offset = reader.Floats(Name("offset"), {rank, dim});
    if (reader.Has(Name("mean"))) out.mean = reader.Floats(Name("mean"), {dim});
    if (!profile.template_rows.empty())
      out.rows = reader.Floats(Name("template"), {profile.template_rows.size(), dim});
    return out;
  }
};

float ReadRopeTheta(const ProfileReader& reader) {
  const std::string text = reader.Text("rope_theta");
  float theta = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), theta);
  if (error != std::errc() || end != text.data() + text.size() || !(theta >= 0 && theta <= 1e12f))
    reader.Fail("names a rope_theta that is none");
  return theta;
}

}  // namespace

int32_t PackedProfile::group_count() const { return *std::max_element(groups.begin(), groups.end()) + 1; }

std::vector<int32_t> PackedProfile::Columns() const {
  std::vector<int32_t> columns(tokens);
  for (int32_t i = 0; i < tokens; ++i) columns[i] = i;
  std::stable_sort(columns.begin(), columns.end(),
                   [this](int32_t a, int32_t b) { return groups[a] < groups[b]; });
  return columns;
}

std::vector<int32_t> PackedProfile::GroupBegins() const {
  std::vector<int32_t> begins(group_count() + 1);
  for (const int32_t group : groups) ++begins[group + 1];
  for (size_t g = 1; g < begins.size(); ++g) begins[g] += begins[g - 1];
  return begins;
}

PackedProfile ReadPackedProfile(ProfileReader& reader, const KvGeometry& geometry) {
  if (reader.Text("version") != kPackedVersion)
    reader.Fail("is of another version than " + std::string(kPackedVersion));
  PackedProfile profile;
  profile.codec = reader.Text("codec");
  if (std::find(std::begin(kCodecs), std::end(kCodecs), profile.codec) == std::end(kCodecs))
    reader.Fail("names a codec that is none");
  profile.tokens = reader.Integer("n", 1, kMaxTokens);
  profile.layers = geometry.layers;
  profile.kv_heads = geometry.kv_heads;
  profile.head_dim = geometry.head_dim;
  if (profile.head_dim % 8 != 0) reader.Fail("is for a head of channels that are no multiple of 8");
  profile.rope_theta = ReadRopeTheta(reader);
  profile.groups = ReadGroups(reader, profile.tokens);
  profile.marker_rows = ReadRows(reader, "marker_rows", profile.tokens);
  profile.template_rows = ReadRows(reader, "template_rows", profile.tokens);
  const auto begins = profile.GroupBegins();
  for (int32_t layer = 0; layer < geometry.layers; ++layer) {
    for (int32_t kv_head = 0; kv_head < geometry.kv_heads; ++kv_head) {
      for (int32_t part = 0; part < 2; ++part)
        profile.parts.push_back(PartReader{reader, profile, begins, layer, kv_head, part}.Read());
    }
  }
  reader.End();
  profile.id = reader.Id();
  return profile;
}

void SavePackedProfile(const std::string& path, const PackedProfile& profile,
                       const ProfileMetadata& metadata) {
  ProfileMetadata texts = metadata;
  texts.emplace_back("codec", profile.codec);
  texts.emplace_back("n", std::to_string(profile.tokens));
  texts.emplace_back("rope_theta", std::to_string(profile.rope_theta));
  ProfileWriter writer;
  const auto length = [](const auto& list) { return static_cast<int32_t>(list.size()); };
  writer.Add("groups", {profile.tokens}, profile.groups);
  if (!profile.marker_rows.empty())
    writer.Add("marker_rows", {length(profile.marker_rows)}, profile.marker_rows);
  if (!profile.template_rows.empty())
    writer.Add("template_rows", {length(profile.template_rows)}, profile.template_rows);
  for (int32_t i = 0; i < length(profile.parts); ++i) {
    const PackedPart& part = profile.parts[i];
    const auto name = [&](const char* what) {
      return PartTensor(i / 2 / profile.kv_heads, i / 2 % profile.kv_heads, i % 2, what);
    };
    writer.Add(name("ranks"), {length(part.ranks)}, part.ranks);
    writer.Add(name("bits"), {part.rank()}, part.bits);
    writer.AddHalf(name("basis"), {length(part.basis)}, part.basis);
    writer.AddHalf(name("transform"), {profile.head_dim, profile.head_dim}, part.transform);
    writer.Add(name("weights"), {profile.tokens}, part.weights);
    if (!part.offset.empty()) writer.AddHalf(name("offset"), {part.rank(), profile.head_dim}, part.offset);
    if (!part.mean.empty()) writer.Add(name("mean"), {profile.head_dim}, part.mean);
    if (!part.rows.empty())
      writer.AddHalf(name("template"), {length(profile.template_rows), profile.head_dim}, part.rows);
  }
  writer.WriteTo(path, kPackedVersion, texts);
}

}  // namespace kvcapsule
