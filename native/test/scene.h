// Random pools, profiles and sequences for the kv tests, and a plain-loop oracle of attention over them.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <variant>
#include <vector>

#include "attention/paged_attention.h"
#include "common/half.h"
#include "kv/codec/capsule/capsule_format.h"
#include "kv/codec/packed/packed_format.h"
#include "kv/pool.h"
#include "kv/sequence_table.h"

namespace kvcapsule::testing {

using Rng = std::mt19937_64;

inline std::vector<float> Gaussian(Rng& rng, int64_t count, float scale = 1) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(rng);
  return values;
}

// As a profile's file keeps them.
inline std::vector<float> GaussianHalves(Rng& rng, int64_t count, float scale) {
  std::vector<float> values = Gaussian(rng, count, scale);
  std::vector<uint8_t> halves(2 * values.size());
  FromFloat(Dtype::kF16, values.data(), count, halves.data());
  ToFloat(Dtype::kF16, halves.data(), count, values.data());
  return values;
}

inline int32_t Between(Rng& rng, int32_t least, int32_t most) {
  return std::uniform_int_distribution<int32_t>(least, most)(rng);
}

// Any numbers do for the fused form to be compared with the explicit one; these keep K^ and V^ near unit
// size.
inline std::shared_ptr<const CapsuleProfile> RandomProfile(Rng& rng, const KvGeometry& geometry,
                                                           int32_t tokens, double retention) {
  auto profile = std::make_shared<CapsuleProfile>();
  profile->id = "random";
  profile->tokens = tokens;
  profile->layers = geometry.layers;
  profile->kv_heads = geometry.kv_heads;
  profile->head_dim = geometry.head_dim;
  for (int32_t i = 0; i < geometry.layers * geometry.kv_heads; ++i) {
    CapsuleHead head;
    // m differs from head to head, as it does from layer to layer in a fitted profile.
    head.rows = std::clamp(static_cast<int32_t>(std::ceil(retention * tokens)) - i % 3, 1, tokens);
    std::vector<int32_t> rows(tokens);
    for (int32_t r = 0; r < tokens; ++r) rows[r] = r;
    std::shuffle(rows.begin(), rows.end(), rng);
    head.mask.assign(rows.begin(), rows.begin() + head.rows);
    std::sort(head.mask.begin(), head.mask.end());
    const float unit = 1 / std::sqrt(static_cast<float>(head.rows));
    head.theta = Gaussian(rng, static_cast<int64_t>(head.rows) * tokens, unit);
    head.basis =
        Gaussian(rng, static_cast<int64_t>(head.rows) * tokens, unit / std::sqrt(static_cast<float>(tokens)));
    head.mean = Gaussian(rng, geometry.head_dim);
    profile->heads.push_back(std::move(head));
  }
  return profile;
}

// mask = everything, theta = U = identity, mu = 0: a capsule that stores the rows as they are.
inline std::shared_ptr<const CapsuleProfile> IdentityProfile(const KvGeometry& geometry, int32_t tokens) {
  auto profile = std::make_shared<CapsuleProfile>();
  profile->id = "identity";
  profile->tokens = tokens;
  profile->layers = geometry.layers;
  profile->kv_heads = geometry.kv_heads;
  profile->head_dim = geometry.head_dim;
  CapsuleHead head;
  head.rows = tokens;
  head.theta.assign(static_cast<size_t>(tokens) * tokens, 0);
  for (int32_t r = 0; r < tokens; ++r) {
    head.mask.push_back(r);
    head.theta[static_cast<size_t>(r) * tokens + r] = 1;
  }
  head.basis = head.theta;
  head.mean.assign(geometry.head_dim, 0);
  profile->heads.assign(static_cast<size_t>(geometry.layers) * geometry.kv_heads, head);
  return profile;
}

inline std::shared_ptr<const CapsuleFormat> RandomFormat(Rng& rng, const KvGeometry& geometry, int32_t tokens,
                                                         double retention) {
  return std::make_shared<CapsuleFormat>(geometry, RandomProfile(rng, geometry, tokens, retention));
}
inline std::shared_ptr<const CapsuleFormat> IdentityFormat(const KvGeometry& geometry, int32_t tokens) {
  return std::make_shared<CapsuleFormat>(geometry, IdentityProfile(geometry, tokens));
}

// What a random packed profile is made with.
struct PackedOptions {
  double retention = 1;  // of each group's rows
  int32_t least_bits = 0, most_bits = 8;
  int32_t groups = 1;
  int32_t template_rows = 0;
  bool means = false, weights = false;
  bool choose_bits = false;  // four for each row on average
};

// Orthonormal rows, [rank][extent].
inline std::vector<float> RandomBasis(Rng& rng, int32_t rank, int32_t extent) {
  std::vector<float> basis = Gaussian(rng, static_cast<int64_t>(rank) * extent);
  for (int32_t r = 0; r < rank; ++r) {
    float* row = basis.data() + static_cast<size_t>(r) * extent;
    // Twice, so that rounding leaves nothing of the rows before.
    for (int32_t pass = 0; pass < 2; ++pass) {
      for (int32_t s = 0; s <= r; ++s) {
        const float* other = basis.data() + static_cast<size_t>(s) * extent;
        double dot = 0;
        for (int32_t i = 0; i < extent; ++i) dot += static_cast<double>(row[i]) * other[i];
        for (int32_t i = 0; i < extent; ++i)
          row[i] = static_cast<float>(s == r ? row[i] / std::sqrt(dot) : row[i] - dot * other[i]);
      }
    }
  }
  return basis;
}

inline PackedPart RandomPackedPart(Rng& rng, const PackedProfile& profile, const PackedOptions& options) {
  PackedPart part;
  const int32_t dim = profile.head_dim;
  for (int32_t i = 0; i < profile.tokens; ++i)
    part.weights.push_back(options.weights ? 0.5f + static_cast<float>(Between(rng, 0, 100)) / 100 : 1);
  const auto begins = profile.GroupBegins();
  for (size_t g = 0; g + 1 < begins.size(); ++g) {
    const int32_t extent = begins[g + 1] - begins[g];
    const auto rank = std::clamp(static_cast<int32_t>(std::ceil(options.retention * extent)), 0, extent);
    part.ranks.push_back(rank);
    const auto basis = RandomBasis(rng, rank, extent);
    part.basis.insert(part.basis.end(), basis.begin(), basis.end());
    for (int32_t r = 0; r < rank; ++r) {
      part.deviations.push_back(0.7f + static_cast<float>(Between(rng, 0, 100)) / 100);
      if (!options.choose_bits)
        part.bits.push_back(static_cast<uint8_t>(Between(rng, options.least_bits, options.most_bits)));
    }
  }
  part.sensitivity = static_cast<float>(Between(rng, 1, 3));
  if (options.means) part.means = GaussianHalves(rng, static_cast<int64_t>(part.ranks.size()) * dim, 0.3f);
  for (int32_t i = 0; i < std::min(options.template_rows, profile.tokens); ++i) part.template_rows.push_back(i);
  part.rows = GaussianHalves(rng, static_cast<int64_t>(part.template_rows.size()) * dim, 0.5f);
  return part;
}

inline PackedProfile RandomPackedProfile(Rng& rng, const KvGeometry& geometry, int32_t tokens,
                                         const PackedOptions& options) {
  PackedProfile profile;
  profile.id = "packed";
  profile.codec = "capsule-mixed";
  profile.tokens = tokens;
  profile.layers = geometry.layers;
  profile.kv_heads = geometry.kv_heads;
  profile.head_dim = geometry.head_dim;
  profile.rope_theta = 10000;
  const int32_t groups = std::min(options.groups, tokens);
  for (int32_t i = 0; i < tokens; ++i)
    profile.groups.push_back(i < groups ? i : Between(rng, 0, groups - 1));
  std::shuffle(profile.groups.begin(), profile.groups.end(), rng);
  const int32_t dim = geometry.head_dim;
  profile.transform = Gaussian(rng, static_cast<int64_t>(dim) * dim, 0.2f / std::sqrt(static_cast<float>(dim)));
  for (int32_t c = 0; c < dim; ++c) profile.transform[static_cast<size_t>(c) * dim + c] += 1;
  for (int32_t i = 0; i < 2 * geometry.layers * geometry.kv_heads; ++i)
    profile.parts.push_back(RandomPackedPart(rng, profile, options));
  if (options.choose_bits) {
    for (const PackedPart& part : profile.parts) profile.bytes += part.rank() * (dim / 2) + (part.rank() + 1) / 2;
    profile.bytes += 64 + static_cast<int64_t>(profile.parts.size()) * 4;
    profile.row_cost = 0.75f * static_cast<float>(tokens % 2);
  }
  return profile;
}

// A table over a pool of scattered blocks, filled through the real operations.
class Scene {
 public:
  Scene(const KvGeometry& geometry, int32_t blocks, uint64_t seed)
      : pool(geometry, blocks), table(&pool, 64), rng(seed) {
    for (int32_t b = 0; b < blocks; ++b) free_blocks_.push_back(b);
    std::shuffle(free_blocks_.begin(), free_blocks_.end(), rng);
    // Stale bytes must not matter: NaN in every type.
    std::fill_n(pool.Page(0), geometry.PageBytes() * KvGeometry::kPagesPerBlock * blocks, uint8_t{0xff});
  }

  void Open(int32_t slot) { Apply({static_cast<int32_t>(PageOp::kOpen), slot, 0}); }

  // A raw segment at the end with room for `tokens`; returns its number.
  int32_t AddSegment(int32_t slot, int32_t tokens) {
    Apply({static_cast<int32_t>(PageOp::kSegment), slot, 0});
    const auto segment = static_cast<int32_t>(table.at(slot).segments.size()) - 1;
    std::vector<int32_t> op = {static_cast<int32_t>(PageOp::kBlocks), slot, 0, segment};
    for (int32_t b : TakeBlocks((tokens + 15) / 16)) op.push_back(b);
    op[2] = static_cast<int32_t>(op.size()) - 3;
    Apply(op);
    return segment;
  }

  // Fills a segment up to `tokens` with random rows, all layers.
  void Fill(int32_t slot, int32_t segment, int32_t tokens) {
    auto& raw = std::get<RawSegment>(table.at(slot).segments[segment]);
    const AttentionChunk chunk{slot, segment, 0, tokens - raw.tokens, raw.tokens};
    const KvGeometry& g = pool.geometry();
    const int64_t count = static_cast<int64_t>(chunk.rows) * g.kv_heads * g.head_dim;
    for (int32_t layer = 0; layer < g.layers; ++layer) {
      const auto keys = Gaussian(rng, count), values = Gaussian(rng, count);
      WriteKv(pool, table, {&chunk, 1}, layer, keys.data(), values.data(), 0, 1);
    }
    raw.tokens = tokens;
  }

  // Pages for a capsule: whole blocks, then a tail anywhere inside another one.
  std::vector<int32_t> TakePages(int32_t count) {
    std::vector<int32_t> pages;
    for (const int32_t block : TakeBlocks((count + 7) / 8)) {
      const int32_t run = std::min(count - static_cast<int32_t>(pages.size()), 8);
      const int32_t first = Between(rng, 0, 8 - run);
      for (int32_t p = 0; p < run; ++p) pages.push_back(block * 8 + first + p);
    }
    return pages;
  }

  // Blocks of a capsule's pages, to be taken again.
  void GiveBack(const std::vector<int32_t>& pages) {
    for (size_t p = 0; p < pages.size(); p += 8) free_blocks_.push_back(pages[p] / 8);
  }

  // Compresses a filled segment, or one of stored rows, but for the rest rows.
  void Compress(int32_t slot, int32_t segment, const std::shared_ptr<const KvFormat>& format,
                std::vector<int32_t> rest) {
    const int32_t tokens =
        std::visit([](const auto& each) { return each.tokens; }, table.at(slot).segments[segment]);
    const auto pages = TakePages(format->Pages(tokens - static_cast<int32_t>(rest.size())));
    std::vector<int32_t> op = {static_cast<int32_t>(PageOp::kCompress), slot, 0, segment, 0,
                               static_cast<int32_t>(pages.size())};
    op.insert(op.end(), pages.begin(), pages.end());
    const auto blocks = TakeBlocks((static_cast<int32_t>(rest.size()) + 15) / 16);
    op.push_back(static_cast<int32_t>(blocks.size()));
    op.insert(op.end(), blocks.begin(), blocks.end());
    op.push_back(static_cast<int32_t>(rest.size()));
    op.insert(op.end(), rest.begin(), rest.end());
    op[2] = static_cast<int32_t>(op.size()) - 3;
    table.Apply(op, {&format, 1});
  }

  void Apply(const std::vector<int32_t>& ops) { table.Apply(ops, {}); }

  std::vector<int32_t> TakeBlocks(int32_t count) {
    std::vector<int32_t> taken(free_blocks_.end() - count, free_blocks_.end());
    free_blocks_.resize(free_blocks_.size() - count);
    return taken;
  }

  KvPool pool;
  SequenceTable table;
  Rng rng;

 private:
  std::vector<int32_t> free_blocks_;
};

// Rows of a raw segment of one (layer, part, head) as float, [tokens][head_dim].
inline std::vector<float> RawRows(const KvPool& pool, const RawSegment& raw, int32_t tokens, int32_t layer,
                                  KvPart part, int32_t head) {
  const KvGeometry& g = pool.geometry();
  std::vector<float> rows(static_cast<size_t>(tokens) * g.head_dim);
  for (int32_t t = 0; t < tokens; ++t) {
    ToFloat(g.dtype, pool.Tile(raw.blocks[t / 16], layer, part, head) + t % 16 * g.RowBytes(), g.head_dim,
            rows.data() + static_cast<size_t>(t) * g.head_dim);
  }
  return rows;
}

// Keys or values that a row at `seen` tokens of segment `own` attends to, capsules reconstructed.
inline std::vector<float> VisibleRows(const KvPool& pool, const Sequence& sequence, int32_t own, int32_t seen,
                                      int32_t layer, KvPart part, int32_t head) {
  const int32_t dim = pool.geometry().head_dim;
  std::vector<float> all;
  for (int32_t s = 0; s <= own; ++s) {
    std::vector<float> rows;
    if (const auto* raw = std::get_if<RawSegment>(&sequence.segments[s])) {
      rows = RawRows(pool, *raw, s == own ? seen : raw->tokens, layer, part, head);
    } else {
      const auto& capsule = std::get<CapsuleSegment>(sequence.segments[s]);
      rows.resize(static_cast<size_t>(capsule.tokens) * dim);
      capsule.format->Decode(pool, capsule, layer, part, head, rows.data());
    }
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

// Attention by plain loops in double over reconstructed keys and values; one softmax over everything.
inline std::vector<double> OracleAttention(const KvPool& pool, const SequenceTable& table,
                                           const std::vector<AttentionChunk>& chunks,
                                           const AttentionShape& shape, int32_t layer,
                                           const std::vector<float>& queries) {
  const int32_t dim = pool.geometry().head_dim, group = shape.heads / pool.geometry().kv_heads;
  std::vector<double> out(queries.size());
  for (const AttentionChunk& chunk : chunks) {
    for (int32_t r = 0; r < chunk.rows; ++r) {
      for (int32_t h = 0; h < shape.heads; ++h) {
        const auto rows = [&](KvPart part) {
          return VisibleRows(pool, table.at(chunk.slot), chunk.segment, chunk.start + r + 1, layer, part,
                             h / group);
        };
        const auto keys = rows(KvPart::kKey), values = rows(KvPart::kValue);
        const int64_t at = (static_cast<int64_t>(chunk.first_row + r) * shape.heads + h) * dim;
        const size_t tokens = keys.size() / dim;
        std::vector<double> weights(tokens);
        double top = -INFINITY, sum = 0;
        for (size_t t = 0; t < tokens; ++t) {
          for (int32_t c = 0; c < dim; ++c)
            weights[t] += static_cast<double>(queries[at + c]) * keys[t * dim + c] * shape.scale;
          top = std::max(top, weights[t]);
        }
        for (double& w : weights) sum += w = std::exp(w - top);
        for (size_t t = 0; t < tokens; ++t) {
          for (int32_t c = 0; c < dim; ++c) out[at + c] += weights[t] / sum * values[t * dim + c];
        }
      }
    }
  }
  return out;
}

}  // namespace kvcapsule::testing
