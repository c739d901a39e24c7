#include "common/isa.h"

#include <cpuid.h>
#include <hwy/highway.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>

#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

constexpr std::array<const char*, 4> kNames = {"sse4", "avx2", "avx512", "amx"};

std::atomic<Isa> limit{Isa::kAmx};

struct Features {
  bool byte_matrices = false, int8_tiles = false, bf16_tiles = false;
};

// Linux gives a process the registers of tiles (8 KB a thread) only when it asks. Documentation/arch/x86/xstate.rst.
bool AskForTiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Features Detect() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return {};
  constexpr uint32_t kGfni = 1U << 8, kBf16 = 1U << 22, kTile = 1U << 24, kInt8 = 1U << 25;
  const bool tiles = (d & kTile) != 0 && AskForTiles();
  return {(c & kGfni) != 0, tiles && (d & kInt8) != 0, tiles && (d & kBf16) != 0};
}

const Features& Found() {
  static const Features features = Detect();
  return features;
}

// Better targets have lower bits, so all that are better than `best` lie below it.
int64_t Beyond(int64_t best) { return best - 1; }

int64_t TargetsBeyond(Isa most) {
  if (most == Isa::kSse4) return Beyond(HWY_SSE4);
  return most == Isa::kAvx2 ? Beyond(HWY_AVX2) : 0;
}

}  // namespace

std::string Name(Isa isa) { return kNames[static_cast<size_t>(isa)]; }

void LimitIsa(Isa most) {
  limit = most;
  // Not DisableTargets: SupportedTargets, whenever somebody asks, then makes the dispatch choose among all again.
  hwy::SetSupportedTargetsForTest(0);
  const int64_t all = hwy::SupportedTargets(), beyond = TargetsBeyond(most);
  if (all & beyond) hwy::SetSupportedTargetsForTest(all & ~beyond);
  hwy::GetChosenTarget().Update(all & ~beyond);
}

void LimitIsa(std::string_view most) {
  std::string names;
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (most == kNames[i]) return LimitIsa(static_cast<Isa>(i));
    names += (i == 0 ? "" : i + 1 == kNames.size() ? " or " : ", ") + std::string(kNames[i]);
  }
  throw Error(ErrorCode::kConfigInvalid, "the instruction set to use at most is " + names + ", not " + std::string(most));
}

void LimitIsaByEnvironment() {
  const char* most = std::getenv("KVCAPSULE_MAX_CPU_ISA");
  if (most && *most) LimitIsa(most);
}

Isa BestIsa() {
  if (MayUse(IsaFeature::kInt8Tiles) || MayUse(IsaFeature::kBf16Tiles)) return Isa::kAmx;
  const int64_t usable = hwy::SupportedTargets();
  if (usable & Beyond(HWY_AVX2)) return Isa::kAvx512;
  return usable & HWY_AVX2 ? Isa::kAvx2 : Isa::kSse4;
}

bool MayUse(IsaFeature feature) {
  const Isa most = limit.load(std::memory_order_relaxed);
  if (feature == IsaFeature::kByteMatrices) return most >= Isa::kAvx512 && Found().byte_matrices;
  return most >= Isa::kAmx && (feature == IsaFeature::kInt8Tiles ? Found().int8_tiles : Found().bf16_tiles);
}

}  // namespace kvcapsule
