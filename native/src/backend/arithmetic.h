// Which arithmetic this process computes with. The same model gives the same bits, logits and stored rows alike, on
// two machines whose arithmetic has one name and whose engines are one build.
#pragma once
#include <string>

namespace kvcapsule {

// Raised by whoever changes the bits of any result: the order of a sum, a rounding, a polynomial, a stored format. What
// was computed under another number is not looked up and not mixed with.
inline constexpr int kKernelRevision = 1;

// The instruction set that Highway has chosen for its kernels, as Highway names it: "sse4", "avx2", "avx3" (AVX-512) or
// another machine's. Each is a class of its own: without fused multiply-adds (SSE4) 54 of 64 outputs of a product
// differ in their last bits, and wider vectors cut attention's sums elsewhere. AMX-INT8, GFNI and VNNI, which kernels
// also ask for, compute exact integer products, so they do not appear here.
std::string InstructionSet();

// Backend, instruction set and kernel revision: "cpu-avx2-1". Where products with bf16 weights run on tiles
// (tile_products.h) their sums are others: "cpu-avx3_dl+amx-1", whatever type a model's weights have.
std::string Arithmetic();

}  // namespace kvcapsule
