// A fitted profile of version 3: pieces that pictures of many grids are made of, and the grids. method.md, points 5
// and 10.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kv/codec/packed/packed_profile.h"

namespace kvcapsule {

// Templates of keys or values of one layer and KV head; keys turned back to the position of their piece's first row.
struct PieceTemplates {
  std::vector<int32_t> row_sites;  // ascending: sites whose rows have a template each
  std::vector<float> rows;         // [rows of those sites, one site after the other][head_dim]
  std::vector<float> means;        // [sites][head_dim] template of all rows of any other site, or empty: zero
};

// A piece is a run of rows that pictures repeat: the tokens of a tile, or the markers between two tiles. Pieces of one
// kind have weights, basis and deviations in common. A kind's sites are its places in a grid; pieces of one site have
// templates in common.
struct PieceProfile {
  // A span that holds each kind once, in order: group k is kind k, all of its rows markers or none. Parts have no
  // templates; bytes are those of the largest layout.
  PackedProfile kinds;
  std::vector<int32_t> sites;             // [sites] kind of each
  std::vector<PieceTemplates> templates;  // [layer][kv head][keys, values]
  // Spans that can be put together: their pieces in order.
  struct Layout {
    std::vector<int32_t> sites;
    int64_t bytes = 0;  // of a capsule, where bits are chosen for each picture
  };
  std::vector<Layout> layouts;

  // First row of each kind in `kinds`, [kinds + 1].
  std::vector<int32_t> KindBegins() const { return kinds.GroupBegins(); }
  int32_t Tokens(const Layout& layout) const;
};

// The profile of one layout's spans: a group for each piece that is no marker, one of all markers, whose basis has a
// block for each piece. Its id names the layout too.
PackedProfile SpanProfile(const PieceProfile& pieces, size_t layout);

inline constexpr const char* kPieceVersion = "3";

// Takes an open file of version 3. Throws Error(kProfileInvalid) naming what does not fit.
PieceProfile ReadPieceProfile(ProfileReader& reader, const KvGeometry& geometry);
void SavePieceProfile(const std::string& path, const PieceProfile& profile, const ProfileMetadata& metadata);

}  // namespace kvcapsule
