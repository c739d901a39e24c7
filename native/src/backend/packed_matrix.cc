#include "backend/packed_matrix.h"

#include <sys/mman.h>

#include <algorithm>
#include <string>

#include "common/half.h"
#include "kvcapsule/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/packed_matrix.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // compiles this file once for every instruction set
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvcapsule::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int kPanel = PackedMatrix::kPanel;
using Tag = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Tag>;
constexpr int kVectors = kPanel / static_cast<int>(hn::MaxLanes(Tag()));  // of a panel's row
// Rows taken at a time. 32 registers hold 24 sums, the panel's two vectors and a broadcast; 16 hold 12.
constexpr int kMostRows = kVectors == 2 ? 12 : kVectors == 4 ? 3 : 1;
// Inputs taken at a time when many rows share them: a panel's part stays in the second-level cache.
constexpr int64_t kBlockInputs = 1024;
// No hardware prefetcher crosses a 4-KiB boundary, and many rows leave it little time: at 16 rows of F32
// weights in the third-level cache this doubles the speed.
constexpr int64_t kPrefetchBytes = 2048;

HWY_INLINE Vector LoadWeights(const float* from) { return hn::Load(Tag(), from); }
HWY_INLINE Vector LoadWeights(const hwy::float16_t* from) {
  return hn::PromoteTo(Tag(), hn::Load(hn::Rebind<hwy::float16_t, Tag>(), from));
}
HWY_INLINE Vector LoadWeights(const hwy::bfloat16_t* from) {
  return hn::PromoteTo(Tag(), hn::Load(hn::Rebind<hwy::bfloat16_t, Tag>(), from));
}

struct Operands {
  const float* x;
  int64_t ldx;
  int64_t inputs;
  float* y;
  int64_t ldy;
};

// With `resume` the sums go on from y.
template <int kRows, class Weight>
HWY_INLINE void MultiplyRows(const Operands& o, const Weight* panel, bool resume) {
  const Tag d;
  constexpr int kLanes = kPanel / kVectors;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = resume ? hn::LoadU(d, o.y + r * o.ldy + v * kLanes) : hn::Zero(d);
  }
  for (int64_t i = 0; i < o.inputs; ++i) {
    const auto* ahead = reinterpret_cast<const uint8_t*>(panel + i * kPanel) + kPrefetchBytes;
#pragma GCC unroll 2
    for (size_t byte = 0; byte < kPanel * sizeof(Weight); byte += 64) hwy::Prefetch(ahead + byte);
    Vector weights[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) weights[v] = LoadWeights(panel + i * kPanel + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vector x = hn::Set(d, o.x[r * o.ldx + i]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(x, weights[v], sum[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], d, o.y + r * o.ldy + v * kLanes);
  }
}

template <int kRows, class Weight>
void MultiplyUpTo(int32_t rows, const Operands& o, const Weight* panel, bool resume) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return MultiplyUpTo<kRows - 1>(rows, o, panel, resume);
  }
  MultiplyRows<kRows>(o, panel, resume);
}

template <class Weight>
void MultiplyPanels(const Weight* data, int64_t inputs, Operands o, int32_t rows, int32_t panels) {
  // groups as even as can be: 16 rows are 8 and 8, not 12 and 4
  const int32_t groups = (rows + kMostRows - 1) / kMostRows;
  const int64_t block = groups > 1 ? kBlockInputs : inputs;
  for (int32_t p = 0; p < panels; ++p) {
    for (int64_t first = 0; first < inputs; first += block) {
      const Weight* panel = data + (p * inputs + first) * kPanel;
      for (int32_t g = 0; g < groups; ++g) {
        const int32_t begin = static_cast<int32_t>(int64_t{rows} * g / groups),
                      end = static_cast<int32_t>(int64_t{rows} * (g + 1) / groups);
        const Operands part{o.x + begin * o.ldx + first, o.ldx, std::min(block, inputs - first),
                            o.y + begin * o.ldy + p * kPanel, o.ldy};
        MultiplyUpTo<kMostRows>(end - begin, part, panel, first > 0);
      }
    }
  }
}

void MultiplyF32(const float* data, int64_t inputs, const Operands& o, int32_t rows, int32_t panels) {
  MultiplyPanels(data, inputs, o, rows, panels);
}
void MultiplyF16(const hwy::float16_t* data, int64_t inputs, const Operands& o, int32_t rows,
                 int32_t panels) {
  MultiplyPanels(data, inputs, o, rows, panels);
}
void MultiplyBF16(const hwy::bfloat16_t* data, int64_t inputs, const Operands& o, int32_t rows,
                  int32_t panels) {
  MultiplyPanels(data, inputs, o, rows, panels);
}

}  // namespace

void MultiplyPacked(Dtype dtype, const uint8_t* data, int64_t inputs, const float* x, int64_t ldx,
                    int32_t rows, int32_t panels, float* y, int64_t ldy) {
  const Operands o{x, ldx, inputs, y, ldy};
  switch (dtype) {
    case Dtype::kF32: return MultiplyF32(reinterpret_cast<const float*>(data), inputs, o, rows, panels);
    case Dtype::kF16:
      return MultiplyF16(reinterpret_cast<const hwy::float16_t*>(data), inputs, o, rows, panels);
    case Dtype::kBF16:
      return MultiplyBF16(reinterpret_cast<const hwy::bfloat16_t*>(data), inputs, o, rows, panels);
  }
}

}  // namespace kvcapsule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(MultiplyPacked);

namespace {

constexpr int64_t kLargePage = 2 << 20;

int64_t RoundUp(int64_t bytes, int64_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

void LargeBuffer::Unmap::operator()(uint8_t* data) const { munmap(data, static_cast<size_t>(bytes)); }

LargeBuffer::LargeBuffer(int64_t bytes) : data_(nullptr, Unmap{RoundUp(bytes, kLargePage)}) {
  const auto size = static_cast<size_t>(data_.get_deleter().bytes);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    throw Error(ErrorCode::kEngineFailed,
                "not enough memory for " + std::to_string(bytes) + " bytes of weights");
  }
  data_.reset(static_cast<uint8_t*>(data));
  madvise(data, size, MADV_HUGEPAGE);
}

PackedMatrix::PackedMatrix(int64_t outputs, int64_t inputs, Dtype dtype, uint8_t* memory)
    : inputs_(inputs),
      panels_(static_cast<int32_t>((outputs + kPanel - 1) / kPanel)),
      dtype_(dtype),
      data_(memory) {}

int64_t PackedMatrix::Bytes(int64_t outputs, int64_t inputs, Dtype dtype) {
  return RoundUp(outputs, kPanel) * inputs * DtypeBytes(dtype);
}

uint8_t* PackedMatrix::At(int64_t output) const {
  return data_ + (output / kPanel * inputs_ * kPanel + output % kPanel) * DtypeBytes(dtype_);
}

void PackedMatrix::SetOutput(int64_t output, const float* weights) {
  const int64_t stride = kPanel * DtypeBytes(dtype_);
  for (int64_t i = 0; i < inputs_; ++i) FromFloat(dtype_, weights + i, 1, At(output) + i * stride);
}

void PackedMatrix::ReadOutput(int64_t output, float* weights) const {
  const int64_t stride = kPanel * DtypeBytes(dtype_);
  for (int64_t i = 0; i < inputs_; ++i) ToFloat(dtype_, At(output) + i * stride, 1, weights + i);
}

void PackedMatrix::Multiply(const float* x, int64_t ldx, int32_t rows, int32_t first_panel, int32_t panels,
                            float* y, int64_t ldy) const {
  const uint8_t* data = data_ + int64_t{first_panel} * kPanel * inputs_ * DtypeBytes(dtype_);
  HWY_DYNAMIC_DISPATCH(MultiplyPacked)(dtype_, data, inputs_, x, ldx, rows, panels, y, ldy);
}

}  // namespace kvcapsule
#endif
