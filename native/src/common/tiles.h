// A thread's use of AMX's tiles; isa.h tells whether the process may use any. Intel 64 and IA-32 Architectures Software
// Developer's Manual, volume 1, chapter 18.
#pragma once
#include <cstdint>

namespace kvcapsule {

// How the manual lays out what LDTILECFG reads. A tile without rows is not used.
struct alignas(64) TileConfig {
  static constexpr int32_t kMostRows = 16, kMostRowBytes = 64;

  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// Sets up this thread's tiles, for nothing where config is null, and clears them at the end: tiles in use cost 8 KB at
// every switch of threads. Scopes of one thread follow each other; one in another would take the outer one's tiles away.
// Tiles that were idle for some 700 cycles cost 600 when they are used again.
class TileScope {
 public:
  explicit TileScope(const TileConfig* config);
  ~TileScope();
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;

 private:
  const bool used_;
};

}  // namespace kvcapsule
