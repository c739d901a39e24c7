#include "kv/codec/packed/packed_profile.h"

#include <algorithm>
#include <charconv>

#include "kv/codec/packed/packed_tensors.h"
#include "kv/codec/packed/row_code.h"

namespace kvcapsule {
namespace {

constexpr int32_t kMaxTokens = 1 << 16;
constexpr const char* kCodecs[] = {"capsule-q8", "capsule-q4", "capsule-mixed"};
constexpr const char* kPartNames[] = {"keys", "values"};

bool Ascending(const std::vector<int32_t>& rows, int32_t end) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= end || (i > 0 && rows[i] <= rows[i - 1])) return false;
  }
  return true;
}

// Rows of an optional list: absent is empty.
std::vector<int32_t> ReadRows(ProfileReader& reader, const std::string& name, int32_t tokens) {
  if (!reader.Has(name)) return {};
  const std::vector<uint64_t> shape = reader.Shape(name);
  if (shape.size() != 1 || shape[0] > static_cast<uint64_t>(tokens))
    reader.Fail("has more rows than n in " + name);
  auto rows = reader.Integers(name, shape);
  if (!Ascending(rows, tokens)) reader.Fail("has rows that do not ascend inside [0, n) in " + name);
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

// What one part reads, with the extents that the profile fixes.
struct PartReader {
  ProfileReader& reader;
  const PackedProfile& profile;
  std::vector<int32_t> begins;
  int32_t layer, kv_head, part;

  std::string Name(const char* what) const { return PartTensor(layer, kv_head, part, what); }
  void Require(const std::vector<float>& values, float least, float most, const char* what) const {
    for (const float x : values) {
      if (!(x >= least && x <= most)) reader.Fail("has numbers out of range in " + Name(what));
    }
  }

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
    out.basis = reader.Floats(Name("basis"), {floats});
    out.deviations = reader.Floats(Name("deviations"), {rank});
    Require(out.deviations, 0, 1e18f, "deviations");
    out.sensitivity = reader.Floats(Name("sensitivity"), {1})[0];
    Require({out.sensitivity}, 0, 1e18f, "sensitivity");
    if (!profile.chooses_bits()) {
      out.bits = reader.Bytes(Name("bits"), {rank});
      if (std::any_of(out.bits.begin(), out.bits.end(), [](uint8_t bits) { return bits > 8; }))
        reader.Fail("has bits above 8 in " + Name("bits"));
    }
    out.weights = reader.Floats(Name("weights"), {n});
    Require(out.weights, 1e-6f, 1e6f, "weights");
    out.template_rows = ReadRows(reader, Name("template_rows"), profile.tokens);
    if (!out.template_rows.empty())
      out.rows = reader.Floats(Name("template"), {out.template_rows.size(), dim});
    if (reader.Has(Name("spectrum"))) out.spectrum = reader.Floats(Name("spectrum"), {n});
    if (reader.Has(Name("means"))) out.means = reader.Floats(Name("means"), {out.ranks.size(), dim});
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

std::string PartTensor(int32_t layer, int32_t kv_head, int32_t part, const char* what) {
  return HeadTensor(layer, kv_head, std::string(kPartNames[part]) + "." + what);
}

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
  PackedProfile profile = ReadPackedTensors(reader, geometry);
  reader.End();
  profile.id = reader.Id();
  return profile;
}

PackedProfile ReadPackedTensors(ProfileReader& reader, const KvGeometry& geometry) {
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
  const auto dim = static_cast<uint64_t>(profile.head_dim);
  profile.transform = reader.Floats("transform", {dim, dim});
  profile.bytes = reader.Integer("bytes", 0, INT32_MAX);
  // A tensor, so that readers that know none of it refuse the file instead of taking other bits.
  if (reader.Has("row_cost")) profile.row_cost = reader.Floats("row_cost", {1})[0];
  if (!(profile.row_cost >= 0 && profile.row_cost <= kMaxRowBits)) reader.Fail("names a row_cost outside 0..8");
  const auto begins = profile.GroupBegins();
  for (int32_t layer = 0; layer < geometry.layers; ++layer) {
    for (int32_t kv_head = 0; kv_head < geometry.kv_heads; ++kv_head) {
      for (int32_t part = 0; part < 2; ++part)
        profile.parts.push_back(PartReader{reader, profile, begins, layer, kv_head, part}.Read());
    }
  }
  return profile;
}

void AddPackedTensors(ProfileWriter& writer, const PackedProfile& profile, ProfileMetadata& texts) {
  texts.emplace_back("codec", profile.codec);
  texts.emplace_back("n", std::to_string(profile.tokens));
  texts.emplace_back("bytes", std::to_string(profile.bytes));
  texts.emplace_back("rope_theta", std::to_string(profile.rope_theta));
  const auto length = [](const auto& list) { return static_cast<int32_t>(list.size()); };
  writer.Add("groups", {profile.tokens}, profile.groups);
  if (!profile.marker_rows.empty())
    writer.Add("marker_rows", {length(profile.marker_rows)}, profile.marker_rows);
  if (profile.row_cost > 0) writer.AddOwned("row_cost", {profile.row_cost});
  writer.AddHalf("transform", {profile.head_dim, profile.head_dim}, profile.transform);
  for (int32_t i = 0; i < length(profile.parts); ++i) {
    const PackedPart& part = profile.parts[i];
    const auto name = [&](const char* what) {
      return PartTensor(i / 2 / profile.kv_heads, i / 2 % profile.kv_heads, i % 2, what);
    };
    writer.Add(name("ranks"), {length(part.ranks)}, part.ranks);
    writer.AddHalf(name("basis"), {length(part.basis)}, part.basis);
    writer.Add(name("deviations"), {part.rank()}, part.deviations);
    if (!part.spectrum.empty()) writer.Add(name("spectrum"), {profile.tokens}, part.spectrum);
    writer.AddOwned(name("sensitivity"), {part.sensitivity});
    if (!profile.chooses_bits()) writer.Add(name("bits"), {part.rank()}, part.bits);
    writer.Add(name("weights"), {profile.tokens}, part.weights);
    if (!part.template_rows.empty()) {
      writer.Add(name("template_rows"), {length(part.template_rows)}, part.template_rows);
      writer.AddHalf(name("template"), {length(part.template_rows), profile.head_dim}, part.rows);
    }
    if (!part.means.empty())
      writer.AddHalf(name("means"), {length(part.ranks), profile.head_dim}, part.means);
  }
}

void SavePackedProfile(const std::string& path, const PackedProfile& profile,
                       const ProfileMetadata& metadata) {
  ProfileMetadata texts = metadata;
  ProfileWriter writer;
  AddPackedTensors(writer, profile, texts);
  writer.WriteTo(path, kPackedVersion, texts);
}

}  // namespace kvcapsule
