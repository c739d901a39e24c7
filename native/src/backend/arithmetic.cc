#include "backend/arithmetic.h"

#include <hwy/highway.h>

#include <algorithm>

#include "backend/tile_products.h"

namespace kvcapsule {

std::string InstructionSet() {
  // the better a target the lower its bit, and the lowest that was compiled is what the dispatch takes
  const int64_t usable = hwy::SupportedTargets() & HWY_TARGETS;
  std::string name = hwy::TargetName(usable & -usable);
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; });
  return name;
}

std::string Arithmetic() {
  const char* tiles = ChosenTileProduct() ? "+amx" : "";
  return "cpu-" + InstructionSet() + tiles + "-" + std::to_string(kKernelRevision);
}

}  // namespace kvcapsule
