// Speed of attention alone, on random data, beside the machine's roofs measured in the same run.
// Usage: attention_bench [name=value]...
//   geometry=demo|256m|2b|7b   6 layers of 4 heads over 2 KV heads of 64; 6 of SmolVLM-256M's 30 layers of 9 heads over 3
//   of 64; 1 of SmolVLM2-2.2B's 24 of 32 heads over 32 of 64; 2 of Qwen2.5-VL-7B's 28 of 28 heads over 4 of 128
//   codec=f16|bf16|f32|q8|q4|capsule|packed   the last four as pictures of `picture` tokens over an F16 pool; capsule
//   is profile version 1 with `retention` of the rows; packed is version 2 with that share in every group of `group`
//   tokens, rows of `bits` bits and template=markers|all: `markers` rows; or, as profiles that ship have it, of keys these
//   and a mean for each group, of values all rows. With profile=FILE what that profile (version 2) says, of pictures drawn
//   from its own statistics
//   against=none|raw   raw: raw rows of as many tokens are measured in turns with the codec, and the ratio of both times
//   is told, the median of `turns`
//   tokens=16384 batch=4 rows=1 (query rows a sequence: more is prefill) threads=1 picture=312 retention=0.25 rounds=5
//   clock=wall|cpu   cpu: the thread's own time, for one thread on a machine that others use too; the roofs are by the wall
// Best of `rounds` rounds; a step visits every layer once, so data larger than the caches comes from memory.
#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "attention/paged_attention.h"
#include "backend/arithmetic.h"
#include "backend/roof.h"
#include "common/half.h"
#include "common/isa.h"
#include "kv/codec/capsule/capsule_format.h"
#include "kv/codec/packed/packed_format.h"
#include "kv/codec/q4/q4_format.h"
#include "kv/codec/q8/q8_format.h"
#include "kv/codec/registry.h"
#include "options.h"

namespace kvcapsule::bench {
namespace {

struct Sizes {
  int32_t layers, kv_heads, head_dim, heads;
};

const Sizes& SizesOf(const Options& options) {
  static const std::map<std::string, Sizes> known = {
      {"demo", {6, 2, 64, 4}}, {"256m", {6, 3, 64, 9}}, {"2b", {1, 32, 64, 32}}, {"7b", {2, 4, 128, 28}}};
  return known.at(options.at("geometry"));
}

KvGeometry GeometryOf(const Options& options) {
  const std::string& codec = options.at("codec");
  const Dtype dtype = codec == "f32" ? Dtype::kF32 : codec == "bf16" ? Dtype::kBF16 : Dtype::kF16;
  const Sizes& sizes = SizesOf(options);
  return {sizes.layers, sizes.kv_heads, sizes.head_dim, dtype};
}

std::vector<float> Gaussian(std::mt19937& rng, int64_t count, float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(rng);
  return values;
}

std::shared_ptr<const KvFormat> RandomCapsule(std::mt19937& rng, const KvGeometry& geometry, int32_t tokens,
                                              double retention) {
  auto profile = std::make_shared<CapsuleProfile>();
  profile->tokens = tokens;
  profile->layers = geometry.layers;
  profile->kv_heads = geometry.kv_heads;
  profile->head_dim = geometry.head_dim;
  CapsuleHead head;
  head.rows = std::max(1, static_cast<int32_t>(std::lround(retention * tokens)));
  head.theta = Gaussian(rng, static_cast<int64_t>(head.rows) * tokens, 1 / std::sqrt(static_cast<float>(head.rows)));
  head.basis = Gaussian(rng, static_cast<int64_t>(head.rows) * tokens, 1 / std::sqrt(static_cast<float>(tokens)));
  head.mean = Gaussian(rng, geometry.head_dim, 1);
  for (int32_t r = 0; r < head.rows; ++r) head.mask.push_back(r);
  profile->heads.assign(static_cast<size_t>(geometry.layers) * geometry.kv_heads, head);
  return std::make_shared<CapsuleFormat>(geometry, profile);
}

// Orthonormal; dim is a power of two.
std::vector<float> Hadamard(int32_t dim) {
  std::vector<float> matrix(static_cast<size_t>(dim) * dim);
  for (int32_t i = 0; i < dim; ++i) {
    for (int32_t j = 0; j < dim; ++j)
      matrix[i * dim + j] = (__builtin_popcount(i & j) % 2 ? -1 : 1) / std::sqrt(static_cast<float>(dim));
  }
  return matrix;
}

// As a profile's file keeps them.
std::vector<float> GaussianHalves(std::mt19937& rng, int64_t count) {
  std::vector<float> values = Gaussian(rng, count, 1);
  std::vector<uint8_t> halves(2 * values.size());
  FromFloat(Dtype::kF16, values.data(), count, halves.data());
  ToFloat(Dtype::kF16, halves.data(), count, values.data());
  return values;
}

std::shared_ptr<const KvFormat> RandomPacked(std::mt19937& rng, const KvGeometry& geometry, const Options& options) {
  PackedProfile profile;
  profile.codec = "capsule-mixed";
  profile.tokens = options.Int("picture");
  profile.layers = geometry.layers;
  profile.kv_heads = geometry.kv_heads;
  profile.head_dim = geometry.head_dim;
  profile.rope_theta = 10000;
  for (int32_t i = 0; i < profile.tokens; ++i) profile.groups.push_back(i / options.Int("group"));
  profile.transform = Hadamard(geometry.head_dim);
  const std::vector<int32_t> begins = profile.GroupBegins();
  PackedPart part;
  part.weights.assign(profile.tokens, 1);
  part.sensitivity = 1;
  for (size_t g = 0; g + 1 < begins.size(); ++g) {
    const int32_t tokens = begins[g + 1] - begins[g];
    const auto rank = static_cast<int32_t>(std::lround(options.Real("retention") * tokens));
    part.ranks.push_back(rank);
    part.bits.insert(part.bits.end(), rank, static_cast<uint8_t>(options.Int("bits")));
    part.deviations.insert(part.deviations.end(), rank, 1.0f);
    const auto basis = Gaussian(rng, static_cast<int64_t>(rank) * tokens, 1 / std::sqrt(static_cast<float>(tokens)));
    part.basis.insert(part.basis.end(), basis.begin(), basis.end());
  }
  const bool all = options.at("template") == "all";
  const int64_t groups = static_cast<int64_t>(begins.size()) - 1;
  for (int32_t i = 0; i < 2 * geometry.layers * geometry.kv_heads; ++i) {
    const bool values = i % 2 == 1;
    PackedPart made = part;
    const int32_t rows = all && values ? profile.tokens : std::min(profile.tokens, options.Int("markers"));
    for (int32_t row = 0; row < rows; ++row) made.template_rows.push_back(row);
    made.rows = GaussianHalves(rng, int64_t{rows} * geometry.head_dim);
    if (all && !values) made.means = GaussianHalves(rng, groups * geometry.head_dim);
    profile.parts.push_back(std::move(made));
  }
  return std::make_shared<PackedFormat>(geometry, std::move(profile));
}

// nullptr: raw.
std::shared_ptr<const KvFormat> FormatOf(std::mt19937& rng, const KvGeometry& geometry, const Options& options) {
  const std::string& codec = options.at("codec");
  if (codec == "q8") return std::make_shared<Q8Format>(geometry);
  if (codec == "q4") return std::make_shared<Q4Format>(geometry);
  if (codec == "capsule") return RandomCapsule(rng, geometry, options.Int("picture"), options.Real("retention"));
  const std::string& profile = options.at("profile");
  if (codec == "packed" && !profile.empty()) return OpenFormats(geometry, {profile}).back();
  if (codec == "packed") return RandomPacked(rng, geometry, options);
  return nullptr;
}

// Raw rows of a picture as the profile expects them: templates, and coefficients of the deviations it names.
void DrawRows(std::mt19937& rng, const PackedFormat& format, const KvPool& pool, const RawSegment& to) {
  const KvGeometry& geometry = format.geometry();
  const int32_t dim = geometry.head_dim, padded = format.padded_dim();
  const std::vector<int32_t>&columns = format.columns(), &begins = format.group_begins();
  for (int32_t u = 0; u < 2 * geometry.layers * geometry.kv_heads; ++u) {
    const int32_t layer = u / 2 / geometry.kv_heads, head = u / 2 % geometry.kv_heads;
    const auto part = static_cast<KvPart>(u % 2);
    const PackedUnit& unit = format.unit(layer, part, head);
    auto coefficients = Gaussian(rng, static_cast<int64_t>(unit.rank) * dim, 1);
    std::vector<float> rows(columns.size() * dim);
    for (size_t t = 0; t < unit.template_columns.size(); ++t)
      std::copy_n(&unit.template_rows[t * padded], dim, &rows[static_cast<size_t>(unit.template_columns[t]) * dim]);
    for (size_t g = 0; g + 1 < begins.size(); ++g) {
      const int32_t extent = begins[g + 1] - begins[g];
      for (int32_t i = begins[g]; i < begins[g + 1] && !unit.means.empty(); ++i) {
        for (int32_t c = 0; c < dim; ++c) rows[static_cast<size_t>(i) * dim + c] += unit.means[g * padded + c];
      }
      for (int32_t r = unit.rank_begins[g]; r < unit.rank_begins[g + 1]; ++r) {
        const float* expand = &unit.expand[unit.basis_begins[g] + static_cast<int64_t>(r - unit.rank_begins[g]) * extent];
        for (int32_t i = 0; i < extent * dim; ++i)
          rows[begins[g] * dim + i] += unit.deviations[r] * expand[i / dim] * coefficients[r * dim + i % dim];
      }
    }
    for (size_t c = 0; c < columns.size(); ++c) {
      const int32_t row = columns[c];
      FromFloat(geometry.dtype, &rows[c * dim], dim,
                pool.Tile(to.blocks[row / 16], layer, part, head) + row % 16 * geometry.RowBytes());
    }
  }
}

// Sequences of `tokens` visual tokens and a raw segment that the query rows are the end of.
class Scene {
 public:
  explicit Scene(const Options& options)
      : geometry(GeometryOf(options)), pool(geometry, Blocks(options)), table(&pool, options.Int("batch")) {
    Fill();
    for (int32_t b = 0; b < pool.blocks(); ++b) free_.push_back(b);
    std::shuffle(free_.begin(), free_.end(), rng_);
    const int32_t rows = options.Int("rows"), picture = options.Int("picture");
    const auto format = FormatOf(rng_, geometry, options);
    for (int32_t slot = 0; slot < options.Int("batch"); ++slot) {
      const int32_t open[] = {static_cast<int32_t>(PageOp::kOpen), slot, 0};
      table.Apply(open, {});
      int32_t left = options.Int("tokens");
      for (; format && left >= picture; left -= picture) {
        table.at(slot).segments.emplace_back(Picture(format, picture));
        bytes += format->Bytes(picture);
      }
      const int32_t own = left + rows;
      bytes += own * geometry.BlockBytes() / KvGeometry::kBlockTokens;
      table.at(slot).segments.emplace_back(RawSegment{TakeBlocks((own + 15) / 16), own});
      chunks.push_back({slot, static_cast<int32_t>(table.at(slot).segments.size()) - 1, slot * rows, rows, left});
    }
  }

  const KvGeometry geometry;
  KvPool pool;
  SequenceTable table;
  std::vector<AttentionChunk> chunks;
  int64_t bytes = 0;  // of keys and values that a step reads, all layers

 private:
  static int64_t Blocks(const Options& options) {
    const int64_t spans = options.Int("tokens") / options.Int("picture") + 2;
    return options.Int("batch") * ((options.Int("tokens") + options.Int("rows")) / 16 + 2 + spans) +
           options.Int("picture") / 16 + 1;
  }
  void Fill() {
    const auto values = Gaussian(rng_, 1 << 16, 1);
    const int64_t unit = static_cast<int64_t>(values.size()) * DtypeBytes(geometry.dtype);
    std::vector<uint8_t> coded(unit);
    FromFloat(geometry.dtype, values.data(), static_cast<int64_t>(values.size()), coded.data());
    const int64_t all = pool.blocks() * geometry.BlockBytes();
    for (int64_t at = 0; at < all; at += unit) std::memcpy(pool.Page(0) + at, coded.data(), std::min(unit, all - at));
  }
  std::vector<int32_t> TakeBlocks(int32_t count) {
    std::vector<int32_t> taken(free_.end() - count, free_.end());
    free_.resize(free_.size() - count);
    return taken;
  }
  // The first is encoded from random rows, the others are copies of its bytes in pages of their own.
  CapsuleSegment Picture(const std::shared_ptr<const KvFormat>& format, int32_t tokens) {
    CapsuleSegment picture{format, TakePages(format->Pages(tokens)), tokens, 0};
    if (coded_.empty()) {
      std::vector<int32_t> covered(tokens);
      for (int32_t i = 0; i < tokens; ++i) covered[i] = i;
      const RawSegment raw{TakeBlocks((tokens + 15) / 16), tokens};
      if (const auto* packed = dynamic_cast<const PackedFormat*>(format.get())) DrawRows(rng_, *packed, pool, raw);
      format->Encode(pool, raw, covered, picture);
      std::vector<uint8_t> scratch;
      const uint8_t* from = PagedBytes(pool, picture.pages).Read(0, format->Bytes(tokens), scratch);
      coded_.assign(from, from + format->Bytes(tokens));
    }
    PagedBytes(pool, picture.pages).Write(0, coded_.data(), static_cast<int64_t>(coded_.size()));
    return picture;
  }
  std::vector<int32_t> TakePages(int32_t count) {
    std::vector<int32_t> pages;
    for (const int32_t block : TakeBlocks((count + 7) / 8)) {
      for (int32_t p = 0; p < 8 && static_cast<int32_t>(pages.size()) < count; ++p) pages.push_back(block * 8 + p);
    }
    return pages;
  }

  std::mt19937 rng_{1};
  std::vector<int32_t> free_;
  std::vector<uint8_t> coded_;
};

// Seconds of one step, planning included, best of the rounds.
double BestStep(const Scene& scene, const Options& options) {
  const AttentionShape shape{SizesOf(options).heads, 1 / std::sqrt(static_cast<float>(scene.geometry.head_dim))};
  const int32_t threads = options.Int("threads"), rounds = options.Int("rounds");
  const int32_t rows = options.Int("batch") * options.Int("rows");
  std::mt19937 rng(2);
  const auto queries = Gaussian(rng, static_cast<int64_t>(rows) * shape.heads * scene.geometry.head_dim, 1);
  std::vector<float> out(queries.size());
  CapsuleOperators operators;
  std::unique_ptr<AttentionStep> step;
  std::barrier gate(threads);
  double best = INFINITY;
  const auto work = [&](int32_t ith) {
    for (int32_t round = 0; round < rounds; ++round) {
      const double begin = options.Now();
      if (ith == 0)
        step = std::make_unique<AttentionStep>(scene.pool, scene.table, scene.chunks, shape, &operators);
      gate.arrive_and_wait();
      for (int32_t layer = 0; layer < scene.geometry.layers; ++layer) {
        step->Run(layer, queries.data(), out.data());
        gate.arrive_and_wait();
      }
      if (ith == 0)
        best = std::min(best, options.Now() - begin);
    }
  };
  std::vector<std::jthread> others;
  for (int32_t i = 1; i < threads; ++i) others.emplace_back(work, i);
  work(0);
  others.clear();
  return best;
}

// Multiply-adds of one query row, layer and KV head over one capsule, as the codec's formulas have them.
double CapsuleMacs(const CapsuleSegment& capsule, double dim) {
  if (const auto* fitted = dynamic_cast<const CapsuleFormat*>(capsule.format.get()))
    return 2.0 * fitted->profile().heads[0].rows * (dim + capsule.tokens);
  if (const auto* packed = dynamic_cast<const PackedFormat*>(capsule.format.get())) {
    const PackedPart& part = packed->profile().parts[0];
    const auto templates = static_cast<double>(part.template_rows.size());
    return 2 * (part.rank() * dim + static_cast<double>(part.basis.size()) + templates * dim + dim * dim);
  }
  return 2 * dim * capsule.tokens;
}

// Multiply-adds of one step.
double Macs(const Scene& scene, const Options& options) {
  const double rows = options.Int("rows") * SizesOf(options).heads, dim = scene.geometry.head_dim;
  double macs = 0;
  for (const AttentionChunk& chunk : scene.chunks) {
    for (const Segment& segment : scene.table.at(chunk.slot).segments) {
      const auto* capsule = std::get_if<CapsuleSegment>(&segment);
      macs += rows * (capsule ? CapsuleMacs(*capsule, dim) : 2 * dim * (chunk.start + (chunk.rows + 1) / 2.0));
    }
  }
  return macs * scene.geometry.layers;
}

double Median(std::vector<double> numbers) {
  std::nth_element(numbers.begin(), numbers.begin() + numbers.size() / 2, numbers.end());
  return numbers[numbers.size() / 2];
}

void PrintRatio(const Scene& scene, const Options& options) {
  Options raw = options;
  raw.Set("codec", "f16");
  const Scene rows(raw);
  std::vector<double> own, other, ratios;
  for (int32_t turn = 0; turn < options.Int("turns"); ++turn) {
    own.push_back(BestStep(scene, options));
    other.push_back(BestStep(rows, raw));
    ratios.push_back(own.back() / other.back());
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("%.2f of raw's time [%.2f, %.2f]; step %.2f us, raw %.2f us\n", Median(ratios), ratios.front(),
              ratios.back(), Median(own) * 1e6, Median(other) * 1e6);
}

void PrintSpeed(const Scene& scene, const Options& options) {
  const double seconds = BestStep(scene, options);
  const Roof roof = MeasureRoof(options.Int("threads"), 256 << 20);
  const double read = roof.read_bytes_per_second, flops = roof.flops_per_second;
  const double bandwidth = static_cast<double>(scene.bytes) / seconds;
  const double speed = 2 * Macs(scene, options) / seconds;
  const double tokens = static_cast<double>(options.Int("tokens")) * options.Int("batch") * scene.geometry.layers *
                        scene.geometry.kv_heads;
  std::printf("step %.3f ms, %.2f ns a token, layer and KV head\n", seconds * 1e3, seconds * 1e9 / tokens);
  std::printf("  read %.2f GB/s (%.0f %% of the roof's %.2f), %.1f GFLOP/s (%.0f %% of the roof's %.1f)\n",
              bandwidth / 1e9, 100 * bandwidth / read, read / 1e9, speed / 1e9, 100 * speed / flops, flops / 1e9);
}

int Main(int argc, char** argv) {
  Options options({{"geometry", "demo"},
                   {"codec", "f16"},
                   {"tokens", "16384"},
                   {"batch", "4"},
                   {"rows", "1"},
                   {"threads", "1"},
                   {"rounds", "5"},
                   {"picture", "312"},
                   {"retention", "0.25"},
                   {"group", "16"},
                   {"bits", "4"},
                   {"markers", "40"},
                   {"profile", ""},
                   {"template", "markers"},
                   {"against", "none"},
                   {"turns", "5"}});
  if (!options.Read(argc, argv)) return 2;
  const Scene scene(options);
  options.Print();
  std::printf("%s\n  ", Arithmetic().c_str());
  options.at("against") == "raw" ? PrintRatio(scene, options) : PrintSpeed(scene, options);
  return 0;
}

}  // namespace
}  // namespace kvcapsule::bench

int main(int argc, char** argv) {
  kvcapsule::LimitIsaByEnvironment();
  return kvcapsule::bench::Main(argc, argv);
}
