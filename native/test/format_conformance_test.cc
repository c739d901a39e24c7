// What every format must do. A new codec adds a line to the list at the end.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <thread>

#include "kv/codec/q4/q4_format.h"
#include "kv/codec/q8/q8_format.h"
#include "kvcapsule/error.h"
#include "scene.h"

namespace kvcapsule {
namespace {

using testing::Between;
using testing::Scene;

struct Codec {
  const char* name;
  // A format that covers `tokens` rows.
  std::function<std::shared_ptr<const KvFormat>(testing::Rng&, const KvGeometry&, int32_t tokens)> make;
  // Largest squared error of a reconstructed span of Gaussian rows, relative to the span.
  double error;
};

class FormatTest : public ::testing::TestWithParam<Codec> {
 protected:
  // Blocks and a raw segment of random rows in slot 0 behind `before` other tokens.
  static Scene Filled(const KvGeometry& geometry, int32_t before, int32_t tokens, uint64_t seed) {
    Scene scene(geometry, 600, seed);
    scene.Open(0);
    if (before > 0) scene.Fill(0, scene.AddSegment(0, before), before);
    scene.Fill(0, scene.AddSegment(0, tokens), tokens);
    return scene;
  }
  static const RawSegment& Raw(const Scene& scene) {
    return std::get<RawSegment>(scene.table.at(0).segments.back());
  }
  static std::vector<int32_t> Rows(int32_t tokens) {
    std::vector<int32_t> rows(tokens);
    for (int32_t i = 0; i < tokens; ++i) rows[i] = i;
    return rows;
  }
  static std::vector<float> Decoded(const Scene& scene, const CapsuleSegment& segment, int32_t unit) {
    const KvGeometry& g = scene.pool.geometry();
    std::vector<float> rows(static_cast<size_t>(segment.tokens) * g.head_dim, NAN);
    segment.format->Decode(scene.pool, segment, unit / (2 * g.kv_heads), static_cast<KvPart>(unit % 2),
                           unit / 2 % g.kv_heads, rows.data());
    return rows;
  }
  static std::vector<uint8_t> Bytes(const Scene& scene, const CapsuleSegment& segment) {
    std::vector<uint8_t> bytes, scratch;
    const int64_t count = segment.format->Bytes(segment.tokens);
    const uint8_t* from = PagedBytes(scene.pool, segment.pages).Read(0, count, scratch);
    return {from, from + count};
  }
};

const KvGeometry kGeometries[] = {{2, 2, 64, Dtype::kF16},
                                  {3, 1, 24, Dtype::kF32},
                                  {1, 3, 8, Dtype::kBF16},
                                  {2, 1, 128, Dtype::kBF16},
                                  {1, 2, 40, Dtype::kF16}};

TEST_P(FormatTest, ComesBackWithinItsErrorForAnyNumberOfRows) {
  uint64_t seed = 0;
  for (const KvGeometry& geometry : kGeometries) {
    for (int32_t trial = 0; trial < 6; ++trial) {
      testing::Rng rng(++seed);
      const int32_t tokens = trial == 0 ? 1 : Between(rng, 2, 300), before = Between(rng, 0, 40);
      Scene scene = Filled(geometry, before, tokens, seed);
      const auto format = GetParam().make(rng, geometry, tokens);
      ASSERT_TRUE(format->Covers(tokens));
      const RawSegment raw = Raw(scene);
      const CapsuleSegment target{format, scene.TakePages(format->Pages(tokens)), tokens, before};
      format->Encode(scene.pool, raw, Rows(tokens), target);
      format->CheckHeader(scene.pool, target);
      for (int32_t unit = 0; unit < 2 * geometry.layers * geometry.kv_heads; ++unit) {
        const auto got = Decoded(scene, target, unit);
        const auto want = testing::RawRows(scene.pool, raw, tokens, unit / (2 * geometry.kv_heads),
                                           static_cast<KvPart>(unit % 2), unit / 2 % geometry.kv_heads);
        double error = 0, size = 0;
        for (size_t i = 0; i < want.size(); ++i) {
          error += std::pow(static_cast<double>(got[i]) - want[i], 2);
          size += static_cast<double>(want[i]) * want[i];
        }
        ASSERT_TRUE(error <= GetParam().error * size)
            << error / size << ", " << tokens << " tokens, unit " << unit << ", dim " << geometry.head_dim;
      }
    }
  }
}

TEST_P(FormatTest, WritesItsBytesAndNoneBesides) {
  const KvGeometry geometry{2, 2, 64, Dtype::kF16};
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    testing::Rng rng(seed);
    const int32_t tokens = Between(rng, 1, 200);
    Scene scene = Filled(geometry, 0, tokens, seed);
    const auto format = GetParam().make(rng, geometry, tokens);
    const int64_t bytes = format->Bytes(tokens);
    EXPECT_EQ(format->Pages(tokens), (bytes + geometry.PageBytes() - 1) / geometry.PageBytes());
    if (format->info().tokens == 0) {
      EXPECT_EQ(bytes, format->info().header_bytes + tokens * format->info().bytes_per_token);
    }
    const CapsuleSegment target{format, scene.TakePages(format->Pages(tokens)), tokens, 0};
    const RawSegment raw = Raw(scene);
    const int64_t pool_bytes = scene.pool.blocks() * geometry.BlockBytes();
    const std::vector<uint8_t> before(scene.pool.Page(0), scene.pool.Page(0) + pool_bytes);
    format->Encode(scene.pool, raw, Rows(tokens), target);
    // Putting what was written aside must give the pool as it was.
    const PagedBytes view(scene.pool, target.pages);
    std::vector<uint8_t> old(bytes), scratch;
    int64_t at = 0;
    for (size_t p = 0; p < target.pages.size() && at < bytes; ++p) {
      const int64_t piece = std::min(geometry.PageBytes(), bytes - at);
      std::memcpy(old.data() + at, before.data() + target.pages[p] * geometry.PageBytes(), piece);
      at += piece;
    }
    view.Write(0, old.data(), bytes);
    EXPECT_EQ(std::memcmp(before.data(), scene.pool.Page(0), pool_bytes), 0) << "seed " << seed;
  }
}

TEST_P(FormatTest, IsTheSameOverAnyPagesAndInAnyOrderOfTasks) {
  const KvGeometry geometry{2, 2, 64, Dtype::kF16};
  testing::Rng rng(5);
  const int32_t tokens = 233;
  Scene scene = Filled(geometry, 9, tokens, 7);
  const auto format = GetParam().make(rng, geometry, tokens);
  const RawSegment raw = Raw(scene);
  const CapsuleSegment one{format, scene.TakePages(format->Pages(tokens)), tokens, 9};
  const CapsuleSegment other{format, scene.TakePages(format->Pages(tokens)), tokens, 9};
  format->Encode(scene.pool, raw, Rows(tokens), one);
  format->Encode(scene.pool, raw, Rows(tokens), other, [](int32_t count, const auto& task) {
    std::vector<std::thread> threads;
    for (int32_t i = count - 1; i >= 0; --i) threads.emplace_back([&task, i] { task(i); });
    for (auto& thread : threads) thread.join();
  });
  EXPECT_TRUE(Bytes(scene, one) == Bytes(scene, other));
  for (int32_t unit = 0; unit < 8; ++unit) EXPECT_EQ(Decoded(scene, one, unit), Decoded(scene, other, unit));
}

TEST_P(FormatTest, CoversTheRowsItIsGivenAndNoOthers) {
  const KvGeometry geometry{1, 2, 16, Dtype::kF32};
  testing::Rng rng(11);
  const int32_t tokens = 50;
  std::vector<int32_t> covered;
  for (int32_t i = 0; i < 64 && static_cast<int32_t>(covered.size()) < tokens; ++i) {
    if (i % 5 != 2) covered.push_back(i);
  }
  Scene scene = Filled(geometry, 0, 64, 3), packed = Filled(geometry, 0, tokens, 3);
  const RawSegment raw = Raw(scene);
  // The same rows without gaps, in a pool of their own.
  for (int32_t i = 0; i < tokens; ++i) {
    for (int32_t unit = 0; unit < 4; ++unit) {
      std::memcpy(const_cast<uint8_t*>(
                      RawRow(packed.pool, Raw(packed), 0, static_cast<KvPart>(unit % 2), unit / 2, i)),
                  RawRow(scene.pool, raw, 0, static_cast<KvPart>(unit % 2), unit / 2, covered[i]),
                  geometry.RowBytes());
    }
  }
  const auto format = GetParam().make(rng, geometry, tokens);
  const CapsuleSegment some{format, scene.TakePages(format->Pages(tokens)), tokens, 0};
  const CapsuleSegment all{format, packed.TakePages(format->Pages(tokens)), tokens, 0};
  format->Encode(scene.pool, raw, covered, some);
  format->Encode(packed.pool, Raw(packed), Rows(tokens), all);
  EXPECT_EQ(Bytes(scene, some), Bytes(packed, all));
  auto few = covered;
  few.pop_back();
  EXPECT_THROW(format->Encode(scene.pool, raw, few, some), Error);
}

TEST_P(FormatTest, RefusesHeadersThatItCannotReadAndNoOthers) {
  const KvGeometry geometry{1, 2, 64, Dtype::kF16};
  testing::Rng rng(2);
  Scene scene = Filled(geometry, 0, 40, 2);
  const auto format = GetParam().make(rng, geometry, 40);
  const CapsuleSegment target{format, scene.TakePages(format->Pages(40)), 40, 0};
  const auto check = [&](const std::function<void(CapsuleHeader&, uint8_t * appended)>& damage) {
    format->Encode(scene.pool, Raw(scene), Rows(40), target);
    uint8_t* start = scene.pool.Page(target.pages[0]);
    CapsuleHeader header;
    std::memcpy(&header, start, sizeof header);
    damage(header, start + sizeof header);
    std::memcpy(start, &header, sizeof header);
    try {
      format->CheckHeader(scene.pool, target);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCapsuleInvalid);
      return std::string(error.what());
    }
    return std::string("taken");
  };
  EXPECT_EQ(check([](auto&, uint8_t*) {}), "taken");
  EXPECT_EQ(check([](CapsuleHeader& h, uint8_t* appended) {
              h.field_bytes += 8;
              *appended = 42;
            }),
            "taken")
      << "a later writer's field";
  const std::pair<const char*, std::function<void(CapsuleHeader&, uint8_t*)>> damages[] = {
      {"do not begin with a header", [](CapsuleHeader& h, uint8_t*) { h.magic[3] ^= 1; }},
      {"newer version", [](CapsuleHeader& h, uint8_t*) { h.version += 1; }},
      {"no longer read", [](CapsuleHeader& h, uint8_t*) { h.version -= 1; }},
      {"no possible length", [](CapsuleHeader& h, uint8_t*) { h.field_bytes = 8; }},
      {"no possible length", [](CapsuleHeader& h, uint8_t*) { h.field_bytes = 1 << 20; }},
      {"another codec", [](CapsuleHeader& h, uint8_t*) { h.codec += 100; }},
      {"another type", [](CapsuleHeader& h, uint8_t*) { h.dtype = 0; }},
      {"another profile", [](CapsuleHeader& h, uint8_t*) { h.profile_hash ^= 1; }},
      {"another number of tokens", [](CapsuleHeader& h, uint8_t*) { h.tokens -= 1; }},
  };
  for (const auto& [reason, damage] : damages)
    EXPECT_NE(check(damage).find(reason), std::string::npos) << reason;
}

INSTANTIATE_TEST_SUITE_P(
    Codecs, FormatTest,
    ::testing::Values(
        Codec{"q8", [](auto&, const auto& g, int32_t) { return std::make_shared<Q8Format>(g); }, 1e-4},
        Codec{"q4", [](auto&, const auto& g, int32_t) { return std::make_shared<Q4Format>(g); }, 2e-2},
        Codec{"capsule",
              [](auto&, const auto& g, int32_t tokens) { return testing::IdentityFormat(g, tokens); }, 1e-12},
        Codec{"packed_static",
              [](auto& rng, const auto& g, int32_t tokens) {
                testing::PackedOptions options{1, 8, 8, 3, 7, true, true};
                return std::make_shared<PackedFormat>(g,
                                                      testing::RandomPackedProfile(rng, g, tokens, options));
              },
              1e-3},
        Codec{"packed_mixed",
              [](auto& rng, const auto& g, int32_t tokens) {
                testing::PackedOptions options{1, 0, 8, 3, 7, true, true, true};
                return std::make_shared<PackedFormat>(g,
                                                      testing::RandomPackedProfile(rng, g, tokens, options));
              },
              0.1}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace kvcapsule
