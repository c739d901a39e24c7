#include "model/pillow_resize.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace kvcapsule {
namespace {

// The same noise as tools/oracle/make_fixtures.py makes.
RgbImage LcgPicture(int32_t width, int32_t height) {
  RgbImage image{width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3)};
  uint32_t state = 12345;
  for (uint8_t& value : image.pixels) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<uint8_t>(state >> 24);
  }
  return image;
}

uint32_t Fnv1a(const std::vector<uint8_t>& bytes) {
  uint32_t value = 0x811C9DC5u;
  for (const uint8_t byte : bytes) value = (value ^ byte) * 0x01000193u;
  return value;
}

TEST(PillowResize, GivesPillowsPixelsBitForBit) {
  std::ifstream file(std::string(KVCAPSULE_FIXTURES) + "/resize.json");
  const auto rows = nlohmann::json::parse(file);
  ASSERT_GT(rows.size(), 100u);
  for (const auto& row : rows) {
    const RgbImage resized =
        PillowResize(LcgPicture(row[0], row[1]), row[2], row[3], static_cast<Resample>(row[4].get<int>()));
    EXPECT_EQ(Fnv1a(resized.pixels), row[5].get<uint32_t>()) << row.dump();
  }
}

}  // namespace
}  // namespace kvcapsule
