#include "common/tiles.h"

namespace kvcapsule {

// In assembly, so that nothing here is compiled for processors that have tiles.
TileScope::TileScope(const TileConfig* config) : used_(config != nullptr) {
  if (used_) asm volatile("ldtilecfg %0" : : "m"(*config));
}

TileScope::~TileScope() {
  if (used_) asm volatile("tilerelease" : : : "memory");
}

}  // namespace kvcapsule
