// Products with packed matrices as ggml custom operations: one pass over each weight matrix, with everything
// that is done row by row (norm, bias, activation, residual) in the same pass. Few barriers a layer. Rows are
// independent of each other, so results do not depend on the batch.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "ggml.h"
#include "model/row_ops.h"
#include "model/weights.h"

namespace kvcapsule {

// A layer norm, or an RMS norm where there is no bias.
void NormRow(const LayerNorm& norm, float epsilon, const float* x, int64_t count, float* out);

// One product with a packed matrix, its rows normalised first where norm is given.
struct DenseOp {
  DenseOp() = default;
  explicit DenseOp(const PackedLinear& matrix) : linear(&matrix) {}
  DenseOp(const PackedLinear& matrix, const LayerNorm& with, float eps)
      : linear(&matrix), norm(with), epsilon(eps) {}

  const PackedLinear* linear = nullptr;
  LayerNorm norm;
  float epsilon = 0;
  std::atomic<int32_t> next_task = 0;
};

// All operations take x [rows][inputs] in F32. Ops outlive the graph's computation and serve it once.

// residual + W x, [rows][outputs].
ggml_tensor* ProjectAndAdd(ggml_context* context, ggml_tensor* x, ggml_tensor* residual, DenseOp& op);
// silu(gate x) * up x, [rows][intermediate].
ggml_tensor* ProjectGated(ggml_context* context, ggml_tensor* x, int64_t intermediate, DenseOp& op);
// gelu(W x), [rows][outputs].
ggml_tensor* ProjectGelu(ggml_context* context, ggml_tensor* x, int64_t outputs, DenseOp& op);
// W x, [rows][outputs].
ggml_tensor* Project(ggml_context* context, ggml_tensor* x, int64_t outputs, DenseOp& op);

// An operation on all of ggml's threads; user outlives the computation.
ggml_tensor* CustomOp(ggml_context* context, int64_t columns, int64_t rows,
                      std::initializer_list<ggml_tensor*> sources, ggml_custom_op_t run, void* user);

inline const float* Floats(const ggml_tensor* tensor) { return static_cast<const float*>(tensor->data); }

// `floats` of a buffer that only grows.
inline float* Room(std::vector<float>& buffer, int64_t floats) {
  if (static_cast<int64_t>(buffer.size()) < floats) buffer.resize(floats);
  return buffer.data();
}

// What a thread needs for its tasks.
struct DenseScratch {
  std::vector<float> normed, products;
  InputRows rows;
};
DenseScratch& ThreadScratch();
// What that takes at most for products with matrices of up to so many inputs.
int64_t DenseScratchBytes(int64_t inputs);

// Rows that share a pass over a task's weights: few enough that they stay in a core's share of the caches, enough that
// converting the weights costs little. A multiple of every kernel's groups.
inline int32_t GroupRows(int64_t inputs, bool on_tiles) {
  constexpr int64_t kFloats = 768 << 10, kLeast = 48, kMost = 192, kWhole = 12;
  if (!on_tiles) return static_cast<int32_t>(std::clamp(kFloats / inputs, kLeast, kMost) / kWhole * kWhole);
  // in a second-level cache of 2 MB
  constexpr int64_t kBytes = 1536 << 10, kLeastOnTiles = 2 * kTileChunk;
  return static_cast<int32_t>(std::clamp(kBytes / CutRowBytes(inputs), kLeastOnTiles, kMost) / kTileChunk * kTileChunk);
}

// Rows of x, normalised where the operation says so, to scratch.rows.
void AssignRows(const DenseOp& op, const float* x, int32_t rows, DenseScratch& scratch);

// The body of such an operation, on each thread: takes tasks until none is left. A task is a group of rows and
// a few units of `unit_panels` panels; store(unit, first_row, rows, y) gets a unit's products with bias, y
// [rows][unit_panels * 32].
template <class Store>
void RunDense(DenseOp& op, const ggml_tensor* x, int32_t unit_panels, int nth, Store store) {
  // More tasks than threads, because a thread may lose its CPU for a while, and so that few units are shared evenly.
  constexpr int32_t kTasksPerThread = 8;
  const PackedMatrix& matrix = op.linear->matrix;
  const int64_t inputs = matrix.inputs(), width = int64_t{unit_panels} * PackedMatrix::kPanel;
  const auto rows = static_cast<int32_t>(x->ne[1]);
  const int32_t group_rows = GroupRows(inputs, matrix.on_tiles());
  const int32_t groups = (rows + group_rows - 1) / group_rows, units = matrix.panels() / unit_panels;
  const int32_t units_per_task = std::clamp(units * groups / (kTasksPerThread * nth), 1, units);
  const int32_t tasks_per_group = (units + units_per_task - 1) / units_per_task;
  DenseScratch& scratch = ThreadScratch();
  int32_t assigned_group = -1;
  for (int32_t task = op.next_task++; task < groups * tasks_per_group; task = op.next_task++) {
    const int32_t group = task / tasks_per_group, first_row = group * group_rows;
    const int32_t count = std::min(group_rows, rows - first_row);
    if (group != assigned_group) AssignRows(op, Floats(x) + first_row * inputs, count, scratch);
    assigned_group = group;
    const int32_t first_unit = task % tasks_per_group * units_per_task;
    const int32_t end_unit = std::min(units, first_unit + units_per_task);
    for (int32_t unit = first_unit; unit < end_unit; ++unit) {
      float* y = Room(scratch.products, count * width);
      matrix.Multiply(scratch.rows, unit * unit_panels, unit_panels, y, width);
      if (!op.linear->bias.empty()) {
        const float* bias = &op.linear->bias[unit * width];
        for (int32_t r = 0; r < count; ++r) AddRow(y + r * width, bias, width, y + r * width);
      }
      store(unit, first_row, count, y);
    }
  }
}

}  // namespace kvcapsule
