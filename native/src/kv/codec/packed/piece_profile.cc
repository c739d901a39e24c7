#include "kv/codec/packed/piece_profile.h"

#include <algorithm>
#include <numeric>

#include "kv/codec/packed/packed_format.h"
#include "kv/codec/packed/packed_tensors.h"

namespace kvcapsule {
namespace {

constexpr int32_t kMaxSites = 1 << 16;
// What a hostile file could make us hold: rows of all layouts together, and of the markers of one, whose basis has as
// many columns.
constexpr int64_t kMaxRows = 1 << 18;
constexpr int32_t kMaxMarkers = 1 << 11;

// One piece of a layout.
struct Placed {
  int32_t site = 0, kind = 0;
  int32_t row = 0, rows = 0;  // in the span
  bool marker = false;
};

bool IsMarker(const PieceProfile& pieces, int32_t kind) {
  const auto& markers = pieces.kinds.marker_rows;
  return std::binary_search(markers.begin(), markers.end(), pieces.KindBegins()[kind]);
}

std::vector<Placed> Place(const PieceProfile& pieces, const PieceProfile::Layout& layout) {
  const std::vector<int32_t> begins = pieces.KindBegins();
  std::vector<bool> markers;
  for (int32_t kind = 0; kind + 1 < static_cast<int32_t>(begins.size()); ++kind)
    markers.push_back(IsMarker(pieces, kind));
  std::vector<Placed> placed;
  int32_t row = 0;
  for (const int32_t site : layout.sites) {
    const int32_t kind = pieces.sites[site], rows = begins[kind + 1] - begins[kind];
    placed.push_back({site, kind, row, rows, markers[kind]});
    row += rows;
  }
  return placed;
}

// Where each kind's numbers begin in a part of `kinds`.
struct KindOffsets {
  std::vector<int32_t> ranks, rows;  // [kinds + 1]
  std::vector<int64_t> basis;

  KindOffsets(const PackedPart& part, const std::vector<int32_t>& begins) : ranks{0}, rows(begins), basis{0} {
    for (size_t k = 0; k < part.ranks.size(); ++k) {
      ranks.push_back(ranks.back() + part.ranks[k]);
      basis.push_back(basis.back() + static_cast<int64_t>(part.ranks[k]) * (begins[k + 1] - begins[k]));
    }
  }
};

// Where each templated site's rows begin; -1: it has none.
std::vector<int64_t> RowTemplateBegins(const PieceProfile& pieces, const PieceTemplates& templates) {
  const std::vector<int32_t> begins = pieces.KindBegins();
  std::vector<int64_t> out(pieces.sites.size(), -1);
  int64_t at = 0;
  for (const int32_t site : templates.row_sites) {
    out[site] = at;
    at += begins[pieces.sites[site] + 1] - begins[pieces.sites[site]];
  }
  return out;
}

// Puts one part of a span together.
class PartMaker {
 public:
  PartMaker(const PieceProfile& pieces, const std::vector<Placed>& placed, size_t number)
      : pieces_(pieces), placed_(placed), number_(number), from_(pieces.kinds.parts[number]),
        offsets_(from_, pieces.KindBegins()) {}

  PackedPart Make() {
    part_.sensitivity = from_.sensitivity;
    for (const Placed& piece : placed_) {
      if (!piece.marker) AddGroup(piece);
    }
    AddMarkers();
    AddTemplates();
    return std::move(part_);
  }

 private:
  template <class List>
  static void Append(const List& from, int64_t begin, int64_t end, List& to) {
    to.insert(to.end(), from.begin() + begin, from.begin() + end);
  }

  void AddRows(const Placed& piece) {
    Append(from_.weights, offsets_.rows[piece.kind], offsets_.rows[piece.kind + 1], part_.weights);
    Append(from_.deviations, offsets_.ranks[piece.kind], offsets_.ranks[piece.kind + 1], part_.deviations);
    if (!from_.bits.empty())
      Append(from_.bits, offsets_.ranks[piece.kind], offsets_.ranks[piece.kind + 1], part_.bits);
  }

  void AddGroup(const Placed& piece) {
    AddRows(piece);
    part_.ranks.push_back(from_.ranks[piece.kind]);
    Append(from_.basis, offsets_.basis[piece.kind], offsets_.basis[piece.kind + 1], part_.basis);
  }

  void AddMarkers() {
    int32_t columns = 0, rank = 0, first = 0;
    for (const Placed& piece : placed_) columns += piece.marker ? piece.rows : 0;
    if (columns == 0) return;
    for (const Placed& piece : placed_) {
      if (!piece.marker) continue;
      AddRows(piece);
      for (int32_t r = 0; r < from_.ranks[piece.kind]; ++r) {
        const auto row = from_.basis.begin() + offsets_.basis[piece.kind] + static_cast<int64_t>(r) * piece.rows;
        part_.basis.resize(part_.basis.size() + columns);
        std::copy_n(row, piece.rows, part_.basis.end() - columns + first);
      }
      rank += from_.ranks[piece.kind];
      first += piece.rows;
    }
    part_.ranks.push_back(rank);
  }

  // Rows of templates, at the piece's place in the span.
  void AppendTurned(const std::vector<float>& from, int64_t row, int32_t rows, int32_t place, std::vector<float>& to) {
    const int32_t dim = pieces_.kinds.head_dim;
    Append(from, row * dim, (row + rows) * dim, to);
    if (number_ % 2 == 0)
      RotateRows(to.data() + to.size() - static_cast<size_t>(rows) * dim, rows, dim, dim, pieces_.kinds.rope_theta, place);
  }

  void AddTemplates() {
    const PieceTemplates& templates = pieces_.templates[number_];
    const std::vector<int64_t> begins = RowTemplateBegins(pieces_, templates);
    for (const Placed& piece : placed_) {
      if (begins[piece.site] < 0) continue;
      for (int32_t i = 0; i < piece.rows; ++i) part_.template_rows.push_back(piece.row + i);
      AppendTurned(templates.rows, begins[piece.site], piece.rows, piece.row, part_.rows);
    }
    if (templates.means.empty()) return;
    for (const Placed& piece : placed_) {
      if (!piece.marker) AppendTurned(templates.means, piece.site, 1, piece.row, part_.means);
    }
    part_.means.resize(part_.ranks.size() * pieces_.kinds.head_dim);  // of the markers, each with a template of its own
  }

  const PieceProfile& pieces_;
  const std::vector<Placed>& placed_;
  const size_t number_;
  const PackedPart& from_;
  const KindOffsets offsets_;
  PackedPart part_;
};

std::vector<int32_t> ReadList(ProfileReader& reader, const std::string& name, int32_t end) {
  const std::vector<uint64_t> shape = reader.Shape(name);
  if (shape.size() != 1) reader.Fail("has no list in " + name);
  auto list = reader.Integers(name, shape);
  if (std::any_of(list.begin(), list.end(), [end](int32_t x) { return x < 0 || x >= end; }))
    reader.Fail("has numbers out of range in " + name);
  return list;
}

// Kinds follow each other, and each is of markers or of none.
void CheckKinds(const ProfileReader& reader, const PackedProfile& kinds) {
  if (!std::is_sorted(kinds.groups.begin(), kinds.groups.end())) reader.Fail("has kinds of pieces out of order");
  for (int32_t row = 1; row < kinds.tokens; ++row) {
    const auto& markers = kinds.marker_rows;
    const auto marker = [&markers](int32_t at) { return std::binary_search(markers.begin(), markers.end(), at); };
    if (kinds.groups[row] == kinds.groups[row - 1] && marker(row) != marker(row - 1))
      reader.Fail("has a kind of piece with and without markers");
  }
  for (const PackedPart& part : kinds.parts) {
    if (!part.template_rows.empty() || !part.means.empty()) reader.Fail("has templates of kinds, not of sites");
  }
}

void ReadLayouts(ProfileReader& reader, PieceProfile& profile) {
  const auto sites = ReadList(reader, "layouts", static_cast<int32_t>(profile.sites.size()));
  const auto begins = ReadList(reader, "layout_begins", static_cast<int32_t>(sites.size()) + 1);
  if (begins.size() < 2 || begins.front() != 0 || begins.back() != static_cast<int32_t>(sites.size()) ||
      !std::is_sorted(begins.begin(), begins.end()))
    reader.Fail("has layouts that do not follow each other");
  const auto bytes = reader.Integers("layout_bytes", {begins.size() - 1});
  int64_t rows = 0;
  for (size_t l = 0; l + 1 < begins.size(); ++l) {
    PieceProfile::Layout& layout = profile.layouts.emplace_back();
    layout.sites.assign(sites.begin() + begins[l], sites.begin() + begins[l + 1]);
    layout.bytes = bytes[l];
    if (layout.sites.empty() || (bytes[l] > 0) != profile.kinds.chooses_bits() || bytes[l] < 0)
      reader.Fail("has a layout without pieces or bytes");
    int32_t markers = 0;
    for (const Placed& piece : Place(profile, layout)) {
      rows += piece.rows;
      markers += piece.marker ? piece.rows : 0;
      if (rows > kMaxRows || markers > kMaxMarkers) reader.Fail("has layouts of too many rows");
    }
  }
}

PieceTemplates ReadTemplates(ProfileReader& reader, const PieceProfile& profile, size_t number) {
  const int32_t head = static_cast<int32_t>(number) / 2, kv_heads = profile.kinds.kv_heads;
  const auto name = [&](const char* what) {
    return PartTensor(head / kv_heads, head % kv_heads, static_cast<int32_t>(number) % 2, what);
  };
  const auto dim = static_cast<uint64_t>(profile.kinds.head_dim);
  const std::vector<int32_t> begins = profile.KindBegins();
  PieceTemplates out;
  if (reader.Has(name("row_sites"))) {
    out.row_sites = ReadList(reader, name("row_sites"), static_cast<int32_t>(profile.sites.size()));
    if (std::adjacent_find(out.row_sites.begin(), out.row_sites.end(), std::greater_equal<>()) != out.row_sites.end())
      reader.Fail("has sites that do not ascend in " + name("row_sites"));
    uint64_t rows = 0;
    for (const int32_t site : out.row_sites) rows += begins[profile.sites[site] + 1] - begins[profile.sites[site]];
    out.rows = reader.Floats(name("site_rows"), {rows, dim});
  }
  if (reader.Has(name("site_means"))) out.means = reader.Floats(name("site_means"), {profile.sites.size(), dim});
  return out;
}

}  // namespace

int32_t PieceProfile::Tokens(const Layout& layout) const {
  const std::vector<int32_t> begins = KindBegins();
  int32_t tokens = 0;
  for (const int32_t site : layout.sites) tokens += begins[sites[site] + 1] - begins[sites[site]];
  return tokens;
}

PackedProfile SpanProfile(const PieceProfile& pieces, size_t number) {
  const PieceProfile::Layout& layout = pieces.layouts[number];
  const std::vector<Placed> placed = Place(pieces, layout);
  PackedProfile span = pieces.kinds;
  span.id += '/';
  span.id += std::to_string(number);
  span.tokens = placed.back().row + placed.back().rows;
  span.bytes = layout.bytes;
  span.groups.assign(span.tokens, 0);
  span.marker_rows.clear();
  span.parts.clear();
  int32_t groups = 0;
  for (const Placed& piece : placed) {
    if (!piece.marker) std::fill_n(span.groups.begin() + piece.row, piece.rows, groups++);
  }
  for (const Placed& piece : placed) {
    for (int32_t row = piece.row; piece.marker && row < piece.row + piece.rows; ++row) {
      span.groups[row] = groups;
      span.marker_rows.push_back(row);
    }
  }
  for (size_t part = 0; part < pieces.kinds.parts.size(); ++part)
    span.parts.push_back(PartMaker(pieces, placed, part).Make());
  return span;
}

PieceProfile ReadPieceProfile(ProfileReader& reader, const KvGeometry& geometry) {
  if (reader.Text("version") != kPieceVersion)
    reader.Fail("is of another version than " + std::string(kPieceVersion));
  PieceProfile profile;
  profile.kinds = ReadPackedTensors(reader, geometry);
  CheckKinds(reader, profile.kinds);
  profile.sites = ReadList(reader, "sites", profile.kinds.group_count());
  if (profile.sites.size() > kMaxSites) reader.Fail("has too many sites");
  ReadLayouts(reader, profile);
  for (size_t part = 0; part < profile.kinds.parts.size(); ++part)
    profile.templates.push_back(ReadTemplates(reader, profile, part));
  reader.End();
  profile.kinds.id = reader.Id();
  return profile;
}

void SavePieceProfile(const std::string& path, const PieceProfile& profile, const ProfileMetadata& metadata) {
  ProfileMetadata texts = metadata;
  ProfileWriter writer;
  AddPackedTensors(writer, profile.kinds, texts);
  const auto length = [](const auto& list) { return static_cast<int32_t>(list.size()); };
  std::vector<int32_t> sites, begins = {0}, bytes;
  for (const PieceProfile::Layout& layout : profile.layouts) {
    sites.insert(sites.end(), layout.sites.begin(), layout.sites.end());
    begins.push_back(length(sites));
    bytes.push_back(static_cast<int32_t>(layout.bytes));
  }
  writer.Add("sites", {length(profile.sites)}, profile.sites);
  writer.Add("layouts", {length(sites)}, sites);
  writer.Add("layout_begins", {length(begins)}, begins);
  writer.Add("layout_bytes", {length(bytes)}, bytes);
  for (int32_t i = 0; i < length(profile.templates); ++i) {
    const PieceTemplates& templates = profile.templates[i];
    const int32_t dim = profile.kinds.head_dim, head = i / 2;
    const auto name = [&](const char* what) {
      return PartTensor(head / profile.kinds.kv_heads, head % profile.kinds.kv_heads, i % 2, what);
    };
    if (!templates.row_sites.empty()) {
      writer.Add(name("row_sites"), {length(templates.row_sites)}, templates.row_sites);
      writer.AddHalf(name("site_rows"), {length(templates.rows) / dim, dim}, templates.rows);
    }
    if (!templates.means.empty())
      writer.AddHalf(name("site_means"), {length(profile.sites), dim}, templates.means);
  }
  writer.WriteTo(path, kPieceVersion, texts);
}

}  // namespace kvcapsule
