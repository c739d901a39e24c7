#include "model/text_ops.h"

#include <algorithm>
#include <cmath>

#include "model/fast_exp.h"

namespace kvcapsule {
namespace {

constexpr int32_t kPanel = PackedMatrix::kPanel;
// Rows that share a pass over a task's weights: with 256 inputs as many as half the second-level cache holds.
constexpr int32_t kGroupRows = 192;
// More tasks than threads, because a thread may lose its CPU for a while.
constexpr int32_t kTasksPerThread = 4;

const float* Floats(const ggml_tensor* tensor) { return static_cast<const float*>(tensor->data); }

float* Room(std::vector<float>& buffer, int64_t floats) {
  if (static_cast<int64_t>(buffer.size()) < floats) buffer.resize(floats);
  return buffer.data();
}

void RmsNormRow(const float* x, const float* weight, int64_t count, float epsilon, float* out) {
  constexpr int kLanes = 16;
  float squares[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) squares[lane] += x[i + lane] * x[i + lane];
  }
  for (; i < count; ++i) squares[0] += x[i] * x[i];
  float sum = 0;
  for (const float square : squares) sum += square;
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(count) + epsilon);
  for (i = 0; i < count; ++i) out[i] = x[i] * scale * weight[i];
}

// Takes tasks until none is left. A task is a group of rows and a few units of `unit_panels` panels;
// store(unit, first_row, rows, y) gets a unit's products, y [rows][unit_panels * 32].
template <class Store>
void RunTasks(DenseOp& op, const ggml_tensor* x, int32_t unit_panels, int nth, Store store) {
  const PackedMatrix& matrix = op.linear->matrix;
  const int64_t inputs = matrix.inputs(), width = int64_t{unit_panels} * kPanel;
  const auto rows = static_cast<int32_t>(x->ne[1]);
  const int32_t groups = (rows + kGroupRows - 1) / kGroupRows, units = matrix.panels() / unit_panels;
  const int32_t units_per_task = std::clamp(units * groups / (kTasksPerThread * nth), 1, units);
  const int32_t tasks_per_group = (units + units_per_task - 1) / units_per_task;
  thread_local std::vector<float> normed, products;
  int32_t normed_group = -1;
  for (int32_t task = op.next_task++; task < groups * tasks_per_group; task = op.next_task++) {
    const int32_t group = task / tasks_per_group, first_row = group * kGroupRows;
    const int32_t count = std::min(kGroupRows, rows - first_row);
    const float* in = Floats(x) + first_row * inputs;
    if (op.norm) {
      float* to = Room(normed, kGroupRows * inputs);
      for (int32_t r = 0; group != normed_group && r < count; ++r)
        RmsNormRow(in + r * inputs, Floats(op.norm), inputs, op.epsilon, to + r * inputs);
      normed_group = group;
      in = to;
    }
    const int32_t first_unit = task % tasks_per_group * units_per_task;
    const int32_t end_unit = std::min(units, first_unit + units_per_task);
    for (int32_t unit = first_unit; unit < end_unit; ++unit) {
      float* y = Room(products, count * width);
      matrix.Multiply(in, inputs, count, unit * unit_panels, unit_panels, y, width);
      if (!op.linear->bias.empty()) {
        const float* bias = &op.linear->bias[unit * width];
        for (int32_t r = 0; r < count; ++r) {
          for (int64_t i = 0; i < width; ++i) y[r * width + i] += bias[i];
        }
      }
      store(unit, first_row, count, y);
    }
  }
}

void RotateRow(const float* in, const float* cosines, int32_t dim, float* out) {
  const int32_t half = dim / 2;
  const float* sines = cosines + half;
  for (int32_t i = 0; i < half; ++i) {
    out[i] = in[i] * cosines[i] - in[i + half] * sines[i];
    out[i + half] = in[i + half] * cosines[i] + in[i] * sines[i];
  }
}

void RunQkv(ggml_tensor* out, int, int nth, void* user) {
  auto& op = *static_cast<QkvOp*>(user);
  const TextConfig& c = *op.config;
  const ggml_tensor* x = out->src[0];
  const int64_t dim = c.head_dim, rows = x->ne[1];
  RunTasks(op, x, HeadPanels(c), nth, [&](int32_t head, int32_t first_row, int32_t count, const float* y) {
    // which of the three, how many heads it has, and where it begins
    const int32_t part = head < c.heads ? 0 : head < c.heads + c.kv_heads ? 1 : 2;
    const int64_t heads = part == 0 ? c.heads : c.kv_heads;
    const int64_t before = part == 0 ? 0 : c.heads + (part - 1) * c.kv_heads;
    float* to = static_cast<float*>(out->data) + (rows * before + first_row * heads + head - before) * dim;
    for (int32_t r = 0; r < count; ++r, to += heads * dim, y += HeadPanels(c) * kPanel) {
      if (part == 2) {
        std::copy_n(y, dim, to);
      } else {
        RotateRow(y, op.rope->at(op.positions[first_row + r]), c.head_dim, to);
      }
    }
  });
}

void RunAndAdd(ggml_tensor* out, int, int nth, void* user) {
  const float* residual = Floats(out->src[1]);
  const int64_t outputs = out->ne[0];
  RunTasks(*static_cast<DenseOp*>(user), out->src[0], 1, nth,
           [&](int32_t panel, int32_t first_row, int32_t count, const float* y) {
             const int64_t first = int64_t{panel} * kPanel, used = std::min<int64_t>(kPanel, outputs - first);
             for (int32_t r = 0; r < count; ++r, y += kPanel) {
               const int64_t at = (first_row + r) * outputs + first;
               float* to = static_cast<float*>(out->data) + at;
               for (int64_t i = 0; i < used; ++i) to[i] = residual[at + i] + y[i];
             }
           });
}

void RunGated(ggml_tensor* out, int, int nth, void* user) {
  const int64_t outputs = out->ne[0];
  RunTasks(*static_cast<DenseOp*>(user), out->src[0], 2, nth,
           [&](int32_t pair, int32_t first_row, int32_t count, const float* y) {
             const int64_t first = int64_t{pair} * kPanel, used = std::min<int64_t>(kPanel, outputs - first);
             for (int32_t r = 0; r < count; ++r, y += 2 * kPanel) {
               float* to = static_cast<float*>(out->data) + (first_row + r) * outputs + first;
               float gated[kPanel];
               for (int32_t i = 0; i < kPanel; ++i) gated[i] = y[i] / (1.0f + FastExp(-y[i])) * y[kPanel + i];
               std::copy_n(gated, used, to);
             }
           });
}

void RunPlain(ggml_tensor* out, int, int nth, void* user) {
  const int64_t outputs = out->ne[0];
  RunTasks(*static_cast<DenseOp*>(user), out->src[0], 1, nth,
           [&](int32_t panel, int32_t first_row, int32_t count, const float* y) {
             const int64_t first = int64_t{panel} * kPanel, used = std::min<int64_t>(kPanel, outputs - first);
             for (int32_t r = 0; r < count; ++r, y += kPanel)
               std::copy_n(y, used, static_cast<float*>(out->data) + (first_row + r) * outputs + first);
           });
}

ggml_tensor* Custom(ggml_context* context, int64_t columns, int64_t rows,
                    std::initializer_list<ggml_tensor*> sources, ggml_custom_op_t run, DenseOp& op) {
  std::vector<ggml_tensor*> list(sources);
  return ggml_custom_4d(context, GGML_TYPE_F32, columns, rows, 1, 1, list.data(),
                        static_cast<int>(list.size()), run, GGML_N_TASKS_MAX, &op);
}

}  // namespace

RopeTable::RopeTable(const TextConfig& config) : dim_(config.head_dim) {
  // in single precision step by step, as transformers computes them
  for (int32_t i = 0; i < dim_; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(dim_);
    frequency_.push_back(1.0f / std::pow(config.rope_theta, exponent));
  }
  blocks_.resize((config.context_tokens + kBlock - 1) / kBlock);
}

void RopeTable::Prepare(std::span<const int32_t> positions) {
  for (const int32_t position : positions) {
    std::vector<float>& block = blocks_[position / kBlock];
    if (!block.empty()) continue;
    block.resize(static_cast<size_t>(kBlock) * dim_);
    const auto half = static_cast<int32_t>(frequency_.size());
    for (int32_t p = 0; p < kBlock; ++p) {
      for (int32_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(position / kBlock * kBlock + p) * frequency_[i];
        block[p * dim_ + i] = std::cos(angle);
        block[p * dim_ + half + i] = std::sin(angle);
      }
    }
  }
}

ggml_tensor* ProjectQkv(ggml_context* context, ggml_tensor* x, QkvOp& op) {
  const TextConfig& c = *op.config;
  return Custom(context, int64_t{c.heads + 2 * c.kv_heads} * c.head_dim, x->ne[1], {x}, RunQkv, op);
}

ggml_tensor* ProjectAndAdd(ggml_context* context, ggml_tensor* x, ggml_tensor* residual, DenseOp& op) {
  return Custom(context, residual->ne[0], x->ne[1], {x, residual}, RunAndAdd, op);
}

ggml_tensor* ProjectGated(ggml_context* context, ggml_tensor* x, int64_t intermediate, DenseOp& op) {
  return Custom(context, intermediate, x->ne[1], {x}, RunGated, op);
}

ggml_tensor* Project(ggml_context* context, ggml_tensor* x, int64_t outputs, DenseOp& op) {
  return Custom(context, outputs, x->ne[1], {x}, RunPlain, op);
}

}  // namespace kvcapsule
