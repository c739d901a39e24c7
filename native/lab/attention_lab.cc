// All ways to attend to stored rows: first each against a plain-loop oracle, then how fast it is beside the roofs.
// Usage: attention_lab [--check]   --check: only against the oracle, on every vector target of the machine
// Exits with 1 when a way errs. Times are of one thread's own clock, ways take turns; prints a Markdown table.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "lab/attention_variants.h"
#include "backend/packed_matrix.h"
#include "backend/roof.h"
#include "common/half.h"
#include "common/isa.h"
#include "kv/codec/q4/q4_format.h"

namespace kvcapsule::lab {
namespace {

enum class Code { kF32, kF16, kBF16, kQ8, kQ4 };
constexpr const char* kCodeNames[] = {"f32", "f16", "bf16", "q8", "q4"};

bool Quantised(Code code) { return code == Code::kQ8 || code == Code::kQ4; }
Dtype DtypeOf(Code code) {
  return code == Code::kF32 ? Dtype::kF32 : code == Code::kF16 ? Dtype::kF16 : Dtype::kBF16;
}
int64_t RowBytes(Code code, int32_t dim) {
  if (Quantised(code)) return code == Code::kQ8 ? dim : dim / 2;
  return dim * DtypeBytes(DtypeOf(code));
}
int64_t Groups(Code code, int32_t dim) { return code == Code::kQ4 ? dim / Q4Format::kGroup : 1; }

struct Shape {
  Code code;
  int32_t dim, queries;
  int64_t tokens;
};

constexpr int32_t kTile = 16;  // rows that lie together
constexpr int64_t kPart = 1024;

// Keys and values of `tokens` tokens, the first half of one KV head, then of another, in blocks
// [key, value][2 heads][kTile] that lie in any order, as a pool's do.
struct Rows {
  Rows(const Shape& shape, uint64_t seed)
      : shape(shape),
        row_bytes(RowBytes(shape.code, shape.dim)),
        rng(seed),
        blocks((shape.tokens + 2 * kTile - 1) / (2 * kTile)),
        bytes(4 * blocks.size() * kTile * row_bytes) {
    const std::vector<uint8_t> unit = RandomRows(std::min<int64_t>(4096, 2 * shape.tokens));
    const auto size = static_cast<int64_t>(unit.size()), all = bytes.bytes();
    for (int64_t at = 0; at < all; at += size)
      std::memcpy(bytes.data() + at, unit.data(), std::min(size, all - at));
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<int64_t>(i);
    std::shuffle(blocks.begin(), blocks.end(), rng);
    const int64_t scales = Quantised(shape.code) ? shape.tokens * Groups(shape.code, shape.dim) : 0;
    key_scales = Halves(scales);
    value_scales = Halves(scales);
    std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(shape.dim)));
    for (int64_t i = 0; i < int64_t{shape.queries} * shape.dim; ++i) queries.push_back(normal(rng));
  }

  const uint8_t* Row(bool key, int64_t token) const {
    const auto tile = token / kTile, count = static_cast<int64_t>(blocks.size());
    const int64_t place = 4 * blocks[tile % count] + (key ? 0 : 2) + tile / count;
    return bytes.data() + (place * kTile + token % kTile) * row_bytes;
  }
  const uint8_t* Scales(bool key, int64_t token) const {
    return (key ? key_scales : value_scales).data() + 2 * token * Groups(shape.code, shape.dim);
  }
  // [tokens][dim]
  std::vector<float> Decode(bool key) const {
    std::vector<float> plain;
    for (int64_t row = 0; row < shape.tokens; ++row) {
      for (int32_t c = 0; c < shape.dim; ++c) plain.push_back(At(key, row, c));
    }
    return plain;
  }

  const Shape shape;
  std::vector<float> queries;  // [queries][dim]

 private:
  // Channel c of a row, by the formats' definition.
  float At(bool key, int64_t row, int32_t c) const {
    const uint8_t* from = Row(key, row);
    float value = 0, scale = 0;
    if (!Quantised(shape.code)) {
      const int64_t size = DtypeBytes(DtypeOf(shape.code));
      ToFloat(DtypeOf(shape.code), from + c * size, 1, &value);
      return value;
    }
    const int64_t group = shape.code == Code::kQ8 ? 0 : c / Q4Format::kGroup;
    ToFloat(Dtype::kF16, Scales(key, row) + 2 * group, 1, &scale);
    if (shape.code == Code::kQ8) return scale * static_cast<float>(static_cast<int8_t>(from[c]));
    constexpr int32_t kHalf = Q4Format::kGroup / 2;
    const int32_t within = c % Q4Format::kGroup;
    const uint8_t pair = from[group * kHalf + within % kHalf];
    return scale * static_cast<float>((within < kHalf ? pair & 15 : pair >> 4) - 8);
  }

  std::vector<uint8_t> RandomRows(int64_t count) {
    std::vector<uint8_t> rows(count * RowBytes(shape.code, shape.dim));
    if (Quantised(shape.code)) {
      for (uint8_t& byte : rows) byte = static_cast<uint8_t>(rng());
      return rows;
    }
    std::normal_distribution<float> normal;
    std::vector<float> numbers(count * shape.dim);
    for (float& number : numbers) number = normal(rng);
    FromFloat(DtypeOf(shape.code), numbers.data(), static_cast<int64_t>(numbers.size()), rows.data());
    return rows;
  }
  // Scales that keep rows near unit size.
  std::vector<uint8_t> Halves(int64_t count) {
    std::uniform_real_distribution<float> uniform(0.5f, 1.5f);
    std::vector<float> numbers(count);
    for (float& number : numbers) number = uniform(rng) / (shape.code == Code::kQ8 ? 64 : 4);
    std::vector<uint8_t> halves(2 * count);
    FromFloat(Dtype::kF16, numbers.data(), count, halves.data());
    return halves;
  }

  const int64_t row_bytes;
  std::mt19937_64 rng;
  std::vector<int64_t> blocks;
  LargeBuffer bytes;
  std::vector<uint8_t> key_scales, value_scales;
};

// [queries][dim]
std::vector<double> Oracle(const Rows& rows) {
  const Shape& shape = rows.shape;
  const std::vector<float> keys = rows.Decode(true), values = rows.Decode(false);
  std::vector<double> out(static_cast<size_t>(shape.queries) * shape.dim);
  for (int32_t q = 0; q < shape.queries; ++q) {
    std::vector<double> weights(shape.tokens);
    for (int64_t t = 0; t < shape.tokens; ++t) {
      for (int32_t c = 0; c < shape.dim; ++c)
        weights[t] += static_cast<double>(rows.queries[q * shape.dim + c]) * keys[t * shape.dim + c];
    }
    const double top = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (double& weight : weights) sum += weight = std::exp(weight - top);
    for (int64_t t = 0; t < shape.tokens; ++t) {
      for (int32_t c = 0; c < shape.dim; ++c) out[q * shape.dim + c] += weights[t] / sum * values[t * shape.dim + c];
    }
  }
  return out;
}

// A way to attend; one of the two is null.
struct Way {
  const char* name;
  void (*stored)(const PartRows&, const float*, AttentionScratch&, const SoftmaxState&);
  void (*quant)(const QuantRows&, const float*, AttentionScratch&, const SoftmaxState&);
};

void Production(const PartRows& part, const float* queries, AttentionScratch& scratch, const SoftmaxState& state) {
  AttendRows(part, {}, queries, scratch, state);
}

constexpr Way kWays[] = {{"production", Production, nullptr},
                         {"turned over", AttendTurnedOver, nullptr},
                         {"memory not asked ahead", AttendUnasked, nullptr},
                         {"asked into the first level", AttendAskedNearer, nullptr},
                         {"production", nullptr, AttendQuantRows},
                         {"panels made float", nullptr, AttendMadeFloat}};

std::vector<const Way*> WaysOf(Code code) {
  std::vector<const Way*> ways;
  for (const Way& way : kWays) {
    if ((way.quant != nullptr) == Quantised(code)) ways.push_back(&way);
  }
  return ways;
}

// One part after the other, as steps have them; returns the last one's state.
class Runner {
 public:
  explicit Runner(const Rows& rows)
      : rows_(rows),
        row_bytes_(RowBytes(rows.shape.code, rows.shape.dim)),
        floats_(SoftmaxState::Floats(rows.shape.queries, rows.shape.dim)),
        state_(SoftmaxState::At(floats_.data(), rows.shape.queries, rows.shape.dim)) {}

  const SoftmaxState& Run(const Way& way) {
    const Shape& shape = rows_.shape;
    for (int64_t first = 0; first < shape.tokens; first += kPart) {
      const auto count = static_cast<int32_t>(std::min(kPart, shape.tokens - first));
      for (int32_t i = 0; i < count; i += kTile) {
        const uint8_t* key = rows_.Row(true, first + i);
        const uint8_t* value = rows_.Row(false, first + i);
        for (int32_t r = 0; r < kTile; ++r) {
          keys_[i + r] = key + r * row_bytes_;
          values_[i + r] = value + r * row_bytes_;
        }
      }
      if (way.stored) {
        way.stored({DtypeOf(shape.code), count, keys_, values_}, rows_.queries.data(), scratch_, state_);
      } else {
        const QuantCode code = shape.code == Code::kQ8 ? QuantCode::kQ8 : QuantCode::kQ4;
        way.quant({code, count, keys_, values_, rows_.Scales(true, first), rows_.Scales(false, first)},
                  rows_.queries.data(), scratch_, state_);
      }
    }
    return state_;
  }

 private:
  const Rows& rows_;
  const int64_t row_bytes_;
  AlignedVector<float> floats_;
  SoftmaxState state_;
  AttentionScratch scratch_;
  const uint8_t* keys_[kPart];
  const uint8_t* values_[kPart];
};

// Of all ways, over at most one part; names those that err.
bool Check(const Shape& shape) {
  const Rows rows(shape, 1 + shape.tokens + shape.queries);
  const std::vector<double> want = Oracle(rows);
  bool right = true;
  for (const Way* way : WaysOf(shape.code)) {
    Runner runner(rows);
    const SoftmaxState& state = runner.Run(*way);
    double worst = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      const size_t row = i / shape.dim, at = row * RoundToLanes(shape.dim) + i % shape.dim;
      const double error = std::abs(state.out[at] / state.sum[row] - want[i]);
      if (!(error <= worst)) worst = error;
    }
    if (worst <= 1e-5) continue;
    std::fprintf(stderr, "%s errs by %g: %s, head_dim %d, %d query rows, %d tokens\n", way->name, worst,
                 kCodeNames[static_cast<int>(shape.code)], shape.dim, shape.queries, static_cast<int>(shape.tokens));
    right = false;
  }
  return right;
}

bool CheckAll() {
  bool right = true;
  const auto use = [](int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(targets);
  };
  const int64_t all = hwy::SupportedTargets();
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    use(target);
    for (const Code code : {Code::kF32, Code::kF16, Code::kBF16, Code::kQ8, Code::kQ4}) {
      for (const int32_t dim : {64, 128}) {
        for (const int32_t queries : {1, 2, 7, 16, 17, 37}) {
          for (const int64_t tokens : {1, 15, 17, 64, 65, 193}) right &= Check({code, dim, queries, tokens});
        }
      }
    }
  }
  use(all);
  return right;
}

double OwnSeconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

std::string Machine() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

void Measure(Shape shape, const Roof& roof) {
  constexpr int kRounds = 9;
  constexpr int64_t kBytes = 256 << 20;  // more than the caches hold
  const int64_t token_bytes = 2 * (RowBytes(shape.code, shape.dim) +
                                   (Quantised(shape.code) ? 2 * Groups(shape.code, shape.dim) : 0));
  shape.tokens = kBytes / token_bytes / (shape.queries > 16 ? 16 : 1);
  const Rows rows(shape, 1);
  Runner runner(rows);
  const std::vector<const Way*> ways = WaysOf(shape.code);
  std::vector<std::vector<double>> seconds(ways.size());
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < ways.size(); ++i) {
      const double begin = OwnSeconds();
      runner.Run(*ways[i]);
      seconds[i].push_back(OwnSeconds() - begin);
    }
  }
  for (size_t i = 0; i < ways.size(); ++i) {
    std::sort(seconds[i].begin(), seconds[i].end());
    const double token = seconds[i][kRounds / 2] / static_cast<double>(shape.tokens);
    const double bandwidth = static_cast<double>(token_bytes) / token, speed = 4.0 * shape.queries * shape.dim / token;
    std::printf("| %s | %d | %d | %s | %.1f [%.1f, %.1f] | %.1f | %.0f %% | %.1f | %.0f %% |\n",
                kCodeNames[static_cast<int>(shape.code)], shape.dim, shape.queries, ways[i]->name, token * 1e9,
                seconds[i][kRounds / 4] / static_cast<double>(shape.tokens) * 1e9,
                seconds[i][3 * kRounds / 4] / static_cast<double>(shape.tokens) * 1e9, bandwidth * 1e-9,
                100 * bandwidth / roof.read_bytes_per_second, speed * 1e-9, 100 * speed / roof.flops_per_second);
  }
}

void MeasureAll() {
  const Roof roof = MeasureRoof(1, 256 << 20);
  std::printf("%s, one thread; roofs: %.1f GB/s read, %.1f GFLOP/s. Medians [quartiles].\n\n", Machine().c_str(),
              roof.read_bytes_per_second * 1e-9, roof.flops_per_second * 1e-9);
  std::printf("| rows | head_dim | query rows | kernel | ns a token | GB/s | of the roof | GFLOP/s | of the roof |\n"
              "|---|---|---|---|---|---|---|---|---|\n");
  for (const Code code : {Code::kF16, Code::kBF16, Code::kF32, Code::kQ8, Code::kQ4}) {
    for (const auto& [dim, queries] : {std::pair{64, 2}, {128, 7}, {64, 96}}) Measure({code, dim, queries, 0}, roof);
  }
}

}  // namespace
}  // namespace kvcapsule::lab

int main(int argc, char** argv) {
  kvcapsule::LimitIsaByEnvironment();
  const bool check = argc == 2 && std::strcmp(argv[1], "--check") == 0;
  if (argc > 1 && !check) {
    std::fprintf(stderr, "usage: attention_lab [--check]\n");
    return 2;
  }
  if (!kvcapsule::lab::CheckAll()) return 1;
  if (!check) kvcapsule::lab::MeasureAll();
  return 0;
}
