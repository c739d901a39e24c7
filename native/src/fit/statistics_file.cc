#include "fit/statistics_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

constexpr int32_t kMaxTokens = 1 << 16;

struct Header {
  char magic[8] = {'K', 'V', 'C', 'S', 'T', 'A', 'T', 'S'};
  int32_t version = 1;
  int32_t layers = 0, kv_heads = 0, head_dim = 0, tokens = 0;
  int32_t unused = 0;  // no padding
  int64_t pictures = 0;
};

[[noreturn]] void Fail(const char* problem) {
  throw Error(ErrorCode::kConfigInvalid, std::string("statistics of an unfinished calibration ") + problem);
}

Header HeaderOf(const KvGeometry& geometry, int32_t tokens, int64_t pictures) {
  Header header;
  header.layers = geometry.layers;
  header.kv_heads = geometry.kv_heads;
  header.head_dim = geometry.head_dim;
  header.tokens = tokens;
  header.pictures = pictures;
  return header;
}

Header ReadHeader(std::ifstream& in, const KvGeometry& geometry) {
  Header header;
  in.read(reinterpret_cast<char*>(&header), sizeof header);
  if (!in) Fail("cannot be read");
  const Header wanted = HeaderOf(geometry, header.tokens, header.pictures);
  if (std::memcmp(&header, &wanted, sizeof header) != 0) Fail("are of another model or version");
  if (header.tokens < 1 || header.tokens > kMaxTokens || header.pictures < 1) Fail("are damaged");
  return header;
}

}  // namespace

void SaveStatistics(const std::string& path, const Statistics& statistics) {
  const std::string partial = path + ".partial";
  std::ofstream out(partial, std::ios::binary | std::ios::trunc);
  const auto write = [&out](const std::vector<double>& numbers) {
    out.write(reinterpret_cast<const char*>(numbers.data()),
              static_cast<std::streamsize>(numbers.size() * sizeof(double)));
  };
  for (const auto& [tokens, gram] : statistics.grams) {
    const Header header = HeaderOf(gram.geometry(), tokens, gram.pictures());
    out.write(reinterpret_cast<const char*>(&header), sizeof header);
    gram.VisitNumbers(write);
    const auto observed = statistics.attention.find(tokens);
    if (observed != statistics.attention.end()) {
      observed->second.VisitNumbers(write);
    } else {
      AttentionStatistics(gram.geometry(), tokens).VisitNumbers(write);
    }
  }
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(partial, path, error);
  if (!out || error) Fail("cannot be written");
}

Statistics LoadStatistics(const std::string& path, const KvGeometry& geometry, float rope_theta) {
  std::ifstream in(path, std::ios::binary);
  const auto read = [&in](std::vector<double>& numbers) {
    in.read(reinterpret_cast<char*>(numbers.data()),
            static_cast<std::streamsize>(numbers.size() * sizeof(double)));
    if (!in || !std::all_of(numbers.begin(), numbers.end(), [](double x) { return std::isfinite(x); }))
      Fail("are damaged");
  };
  Statistics statistics;
  do {
    const Header header = ReadHeader(in, geometry);
    const auto [gram, fresh] = statistics.grams.try_emplace(header.tokens, geometry, header.tokens, rope_theta);
    if (!fresh) Fail("are damaged");
    gram->second.VisitNumbers(read);
    gram->second.set_pictures(header.pictures);
    statistics.attention.try_emplace(header.tokens, geometry, header.tokens).first->second.VisitNumbers(read);
  } while (in.peek() != std::ifstream::traits_type::eof());
  return statistics;
}

}  // namespace kvcapsule
