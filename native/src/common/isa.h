// The instruction sets that kernels may take: what the processor has, up to a limit that an operator sets. Every kernel
// that is chosen when the program runs is chosen by Highway's targets or by MayUse.
#pragma once
#include <string>
#include <string_view>

namespace kvcapsule {

// Each has what those before it have.
enum class Isa { kSse4, kAvx2, kAvx512, kAmx };

// What kernels ask for beside Highway's targets.
enum class IsaFeature {
  kByteMatrices,  // GFNI beside AVX-512
  kInt8Tiles,     // AMX with 8-bit integers, in a process that may use it
  kBf16Tiles,     // AMX with bf16 pairs, likewise
};

// "sse4", "avx2", "avx512" or "amx".
std::string Name(Isa isa);

// Kernels that are called from here on use nothing beyond `most`; before this is called, and after kAmx, all that the
// processor has. Of the whole process: not while anything computes, since results change with the instruction set.
void LimitIsa(Isa most);

// As above, by name. Throws Error (CONFIG_INVALID) that lists the names.
void LimitIsa(std::string_view most);

// By the variable KVCAPSULE_MAX_CPU_ISA, of programs without other settings; empty or not set: no limit.
void LimitIsaByEnvironment();

// The best that the processor has within the limit. kAmx: any tiles.
Isa BestIsa();

// Whether the processor has it within the limit. The processor is asked once.
bool MayUse(IsaFeature feature);

}  // namespace kvcapsule
