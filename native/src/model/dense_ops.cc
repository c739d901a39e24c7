#include "model/dense_ops.h"

namespace kvcapsule {
namespace {

constexpr int32_t kPanel = PackedMatrix::kPanel;

// combine(y, at, count) gets each row of a unit of `panels` panels, the place of its first output in the result,
// and how many outputs there are: the last panel may be padded.
template <class Combine>
void RunPanels(ggml_tensor* out, int nth, void* user, int32_t panels, Combine combine) {
  const int64_t outputs = out->ne[0];
  RunDense(*static_cast<DenseOp*>(user), out->src[0], panels, nth,
           [&](int32_t unit, int32_t first_row, int32_t count, const float* y) {
             const int64_t first = int64_t{unit} * kPanel, used = std::min<int64_t>(kPanel, outputs - first);
             for (int32_t r = 0; r < count; ++r, y += int64_t{panels} * kPanel)
               combine(y, (first_row + r) * outputs + first, used);
           });
}

float* Result(ggml_tensor* out, int64_t at) { return static_cast<float*>(out->data) + at; }

void RunAndAdd(ggml_tensor* out, int, int nth, void* user) {
  const float* residual = Floats(out->src[1]);
  RunPanels(out, nth, user, 1, [&](const float* y, int64_t at, int64_t count) {
    AddRow(residual + at, y, count, Result(out, at));
  });
}

void RunGated(ggml_tensor* out, int, int nth, void* user) {
  RunPanels(out, nth, user, 2, [&](const float* y, int64_t at, int64_t count) {
    GateRow(y, y + kPanel, count, Result(out, at));
  });
}

void RunGelu(ggml_tensor* out, int, int nth, void* user) {
  RunPanels(out, nth, user, 1,
            [&](const float* y, int64_t at, int64_t count) { GeluRow(y, count, Result(out, at)); });
}

void RunPlain(ggml_tensor* out, int, int nth, void* user) {
  RunPanels(out, nth, user, 1,
            [&](const float* y, int64_t at, int64_t count) { std::copy_n(y, count, Result(out, at)); });
}

}  // namespace

void NormRow(const LayerNorm& norm, float epsilon, const float* x, int64_t count, float* out) {
  if (norm.bias) {
    LayerNormRow(x, Floats(norm.weight), Floats(norm.bias), count, epsilon, out);
  } else {
    RmsNormRow(x, Floats(norm.weight), count, epsilon, out);
  }
}

DenseScratch& ThreadScratch() {
  thread_local DenseScratch scratch;
  return scratch;
}

int64_t DenseScratchBytes(int64_t inputs) {
  constexpr int64_t kMostPanels = 2, kFewInputs = 4096;  // below that as many rows go together as ever
  const auto group = [&](bool on_tiles) {
    const int64_t few = std::min(inputs, kFewInputs), many = inputs;
    // normed rows and their copy in the products' order
    const auto bytes = [&](int64_t width, int64_t rows) {
      const int64_t floats = width * static_cast<int64_t>(sizeof(float));
      return rows * (floats + (on_tiles ? CutRowBytes(width) : floats));
    };
    return std::max(bytes(few, GroupRows(1, on_tiles)), bytes(many, GroupRows(many, on_tiles)));
  };
  const int64_t products = GroupRows(1, false) * kMostPanels * kPanel * static_cast<int64_t>(sizeof(float));
  return std::max(group(false), ChosenTileProduct() ? group(true) : 0) + products;
}

void AssignRows(const DenseOp& op, const float* x, int32_t rows, DenseScratch& scratch) {
  const int64_t inputs = op.linear->matrix.inputs();
  if (op.norm.weight) {
    float* normed = Room(scratch.normed, rows * inputs);
    for (int32_t r = 0; r < rows; ++r) NormRow(op.norm, op.epsilon, x + r * inputs, inputs, normed + r * inputs);
    x = normed;
  }
  scratch.rows.Assign(op.linear->matrix, x, inputs, rows);
}

ggml_tensor* CustomOp(ggml_context* context, int64_t columns, int64_t rows,
                      std::initializer_list<ggml_tensor*> sources, ggml_custom_op_t run, void* user) {
  std::vector<ggml_tensor*> list(sources);
  return ggml_custom_4d(context, GGML_TYPE_F32, columns, rows, 1, 1, list.data(),
                        static_cast<int>(list.size()), run, GGML_N_TASKS_MAX, user);
}

ggml_tensor* ProjectAndAdd(ggml_context* context, ggml_tensor* x, ggml_tensor* residual, DenseOp& op) {
  return CustomOp(context, residual->ne[0], x->ne[1], {x, residual}, RunAndAdd, &op);
}

ggml_tensor* ProjectGated(ggml_context* context, ggml_tensor* x, int64_t intermediate, DenseOp& op) {
  return CustomOp(context, intermediate, x->ne[1], {x}, RunGated, &op);
}

ggml_tensor* ProjectGelu(ggml_context* context, ggml_tensor* x, int64_t outputs, DenseOp& op) {
  return CustomOp(context, outputs, x->ne[1], {x}, RunGelu, &op);
}

ggml_tensor* Project(ggml_context* context, ggml_tensor* x, int64_t outputs, DenseOp& op) {
  return CustomOp(context, outputs, x->ne[1], {x}, RunPlain, &op);
}

}  // namespace kvcapsule
