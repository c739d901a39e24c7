// The tiles of AMX in plain code after Intel's manual: registers, settings and instructions as tile_products-inl.h asks
// for them. Loads and stores touch exactly the bytes that the instructions would, so a sanitizer sees what lies outside.
#pragma once
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <optional>

#include "backend/tile_arithmetic.h"
#include "backend/tile_products-inl.h"

namespace kvcapsule::testing {

struct EmulatedTiles {
  static constexpr int kTiles = 8;

  struct Tile {
    alignas(64) uint8_t bytes[TileConfig::kMostRows][TileConfig::kMostRowBytes] = {};
    int32_t rows = 0, row_bytes = 0;
  };
  // A thread's registers; without a setting nothing may be done.
  struct Registers {
    bool in_use = false;
    std::array<Tile, kTiles> tiles;
  };
  static Registers& Mine() {
    thread_local Registers registers;
    return registers;
  }

  // What the processor answers with an exception ends the test.
  static void Require(bool holds, const char* what) {
    if (holds) return;
    ADD_FAILURE() << "a tile would raise an exception: " << what;
    std::abort();
  }

  class Scope {
   public:
    explicit Scope(const TileConfig* config) {
      Require(!Mine().in_use, "scopes follow each other");
      Require(reinterpret_cast<uintptr_t>(config) % 64 == 0, "a setting is aligned");
      Require(config->palette == 1 && config->start_row == 0, "palette 1 from row 0");
      for (const uint8_t byte : config->reserved) Require(byte == 0, "reserved bytes are 0");
      for (int i = 0; i < 16; ++i) {
        const int32_t rows = config->rows[i], row_bytes = config->row_bytes[i];
        Require(rows <= TileConfig::kMostRows && row_bytes <= TileConfig::kMostRowBytes, "a tile is 16 rows of 64 bytes");
        Require((rows == 0) == (row_bytes == 0), "a tile has rows and columns or neither");
        Require(i < kTiles || rows == 0, "there are eight tiles");
        if (i < kTiles) Mine().tiles[i] = {{}, rows, row_bytes};
      }
      Mine().in_use = true;
    }
    ~Scope() { Mine() = {}; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
  };

  static Tile& Used(int number) {
    Tile& tile = Mine().tiles[number];
    Require(Mine().in_use && tile.rows > 0, "a tile is set up before it is used");
    return tile;
  }

  template <int kTile>
  static void Zero() {
    std::memset(Used(kTile).bytes, 0, sizeof(Tile::bytes));
  }

  template <int kTile>
  static void Load(const void* from, int64_t row_bytes) {
    Tile& tile = Used(kTile);
    std::memset(tile.bytes, 0, sizeof(tile.bytes));
    for (int32_t r = 0; r < tile.rows; ++r)
      std::memcpy(tile.bytes[r], static_cast<const uint8_t*>(from) + r * row_bytes, tile.row_bytes);
  }

  template <int kTile>
  static void Store(void* to, int64_t row_bytes) {
    const Tile& tile = Used(kTile);
    for (int32_t r = 0; r < tile.rows; ++r)
      std::memcpy(static_cast<uint8_t*>(to) + r * row_bytes, tile.bytes[r], tile.row_bytes);
  }

  // TDPBF16PS
  template <int kSum, int kRows, int kWeights>
  static void Multiply() {
    static_assert(kSum != kRows && kSum != kWeights && kRows != kWeights);
    Tile& sum = Used(kSum);
    const Tile &a = Used(kRows), &b = Used(kWeights);
    Require(sum.rows == a.rows && sum.row_bytes == b.row_bytes && a.row_bytes == 4 * b.rows, "shapes of a product fit");
    Numbers rows = {}, weights = {};  // [row][input], [output][input]
    for (int32_t m = 0; m < a.rows; ++m) ReadPairs(a.bytes[m], 4, b.rows, rows[m].data());
    for (int32_t n = 0; n < b.row_bytes / 4; ++n)
      ReadPairs(b.bytes[0] + int64_t{4} * n, TileConfig::kMostRowBytes, b.rows, weights[n].data());
    const bool plain = IsPlain(rows) && IsPlain(weights);
    for (int32_t m = 0; m < a.rows; ++m) {
      float sums[TileConfig::kMostRows];
      std::memcpy(sums, sum.bytes[m], sizeof(sums));
      for (int32_t n = 0; n < b.row_bytes / 4; ++n) {
        sums[n] = plain ? AddPlainProducts(sums[n], rows[m].data(), weights[n].data())
                        : AddTileProducts(sums[n], rows[m].data(), weights[n].data(), b.rows);
      }
      std::memcpy(sum.bytes[m], sums, sizeof(sums));
    }
  }

 private:
  using Numbers = std::array<std::array<float, 2 * TileConfig::kMostRows>, TileConfig::kMostRows>;

  // Pairs of bf16 that lie pair_bytes apart.
  static void ReadPairs(const uint8_t* from, int64_t pair_bytes, int32_t pairs, float* to) {
    for (int32_t i = 0; i < pairs; ++i) {
      uint16_t pair[2];
      std::memcpy(pair, from + i * pair_bytes, sizeof(pair));
      to[2 * i] = TileFloat(pair[0]);
      to[2 * i + 1] = TileFloat(pair[1]);
    }
  }

  // Of sizes whose products and sums are neither tiny nor infinite: nothing is flushed.
  static bool IsPlain(const Numbers& numbers) {
    bool plain = true;
    for (const auto& row : numbers) {
      for (const float number : row) {
        const float size = std::fabs(number);
        plain &= size == 0 || (size >= 0x1p-50f && size <= 0x1p50f);
      }
    }
    return plain;
  }

  // As AddTileProducts for such numbers, some ten times as fast: their products are exact in single precision, so that a
  // multiplication and an addition round as the fused one.
  static float AddPlainProducts(float sum, const float* a, const float* b) {
    float even = 0, odd = 0;
    for (int32_t k = 0; k < TileConfig::kMostRows; ++k) {
      even += a[2 * k] * b[2 * k];
      odd += a[2 * k + 1] * b[2 * k + 1];
    }
    return RoundTileSum(double{FlushedToZero(sum)} + (even + odd));
  }
};

// While it lives, products with bf16 weights run on emulated tiles, or on none where `product` is null.
class UseTileProduct {
 public:
  explicit UseTileProduct(TileProduct product) { SetTileProductForTest(product); }
  ~UseTileProduct() { SetTileProductForTest(std::nullopt); }
  UseTileProduct(const UseTileProduct&) = delete;
  UseTileProduct& operator=(const UseTileProduct&) = delete;
};

inline constexpr TileProduct kEmulatedProduct = MultiplyOnTiles<EmulatedTiles>;

}  // namespace kvcapsule::testing
