// A weight matrix laid out for multiplying rows by it: panels of 32 outputs, [panel][input][32], or as
// quantized_panels.h lays them out. Every sum
// runs over the inputs in order, one multiply-add after the other, whatever the thread or the number of rows: a
// row's result does not depend on what else is in the step. Between instruction sets its last bits differ where one
// rounds the product before it adds (SSE4) and another does not. Where AMX multiplies by bf16 (tile_products.h), such
// matrices lie as tiles want them and every product with them goes through tiles, a single row's too.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/tile_products.h"
#include "kv/simd.h"
#include "kvcapsule/weight_type.h"

namespace kvcapsule {

// Zeroed memory on large pages where the kernel grants them: weights are read from end to end in every step,
// and with pages of 4 KiB the address translation alone halves the speed.
class LargeBuffer {
 public:
  LargeBuffer() : data_(nullptr, Unmap{0}) {}
  // Throws Error(kEngineFailed) when there is not enough.
  explicit LargeBuffer(int64_t bytes);
  uint8_t* data() const { return data_.get(); }
  int64_t bytes() const { return data_.get_deleter().bytes; }

 private:
  struct Unmap {
    int64_t bytes;
    void operator()(uint8_t* data) const;
  };
  std::unique_ptr<uint8_t, Unmap> data_;
};

class PackedMatrix;

// Rows that matrices are multiplied by. One object serves row after row of a thread; its memory only grows.
class InputRows {
 public:
  static constexpr int64_t kCopied = 0;
  struct View {
    const float* data = nullptr;
    int64_t stride = 1;  // or kCopied
    int32_t rows = 0;
  };

  // x: [rows] of the matrix's inputs, ldx > 0 floats apart, which stay as they are as long as this is used, for products
  // with `matrix` and others of its inputs and type. Many rows are copied in the order in which a product reads them:
  // where they lie, often a power of two apart, they would push each other out of the first-level cache. For tiles they
  // are cut.
  void Assign(const PackedMatrix& matrix, const float* x, int64_t ldx, int32_t rows);
  // As Assign without a copy, for rows that a product reads once or twice and whose distance does them no harm. Not for
  // matrices on tiles.
  void Refer(const float* x, int64_t ldx, int32_t rows);
  const View& view() const { return view_; }
  const uint8_t* cut() const { return cut_.data(); }

 private:
  View view_;
  std::vector<float> packed_;
  AlignedVector<uint8_t> cut_;
};

class PackedMatrix {
 public:
  static constexpr int32_t kPanel = 32;  // outputs

  PackedMatrix() = default;
  // y = W x with W [outputs][inputs] kept in `type`. memory: Bytes() zeroed bytes at a multiple of 64, which
  // outlive the matrix.
  PackedMatrix(int64_t outputs, int64_t inputs, WeightType type, uint8_t* memory);
  // Where a weight lies, in weights, where they are neither quantized nor on tiles.
  static constexpr int64_t Place(int64_t output, int64_t input, int64_t inputs) {
    return (output / kPanel * inputs + input) * kPanel + output % kPanel;
  }
  // A multiple of 64.
  static int64_t Bytes(int64_t outputs, int64_t inputs, WeightType type);

  // weights: [count][inputs]; the outputs lie in one panel. Those that are never set give zeros. Throws
  // Error(kModelInvalid) where a quantized type cannot hold them.
  void SetOutputs(int64_t output, int64_t count, const float* weights);
  void ReadOutput(int64_t output, float* weights) const;

  int64_t inputs() const { return inputs_; }
  int32_t panels() const { return panels_; }
  int64_t weights() const { return int64_t{panels_} * kPanel * inputs_; }
  bool on_tiles() const { return tile_product_ != nullptr; }
  int64_t bytes() const { return Bytes(int64_t{panels_} * kPanel, inputs_, type_); }

  // y[row][i] for the outputs of `panels` panels from first_panel on, i counting from the first of them.
  // x: rows of inputs() floats; y: as many rows of panels * 32 floats, ldy apart.
  void Multiply(const InputRows& x, int32_t first_panel, int32_t panels, float* y, int64_t ldy) const;
  // y of the first `outputs` outputs: what fills up their last panel is left out where it takes time, and y holds
  // anything there. It has room for whole panels.
  void MultiplyFirst(const InputRows& x, int32_t outputs, float* y, int64_t ldy) const;

 private:
  uint8_t* Panel(int64_t panel) const;
  // Where an output's first weight lies, where it is not quantized; the next ones are kPanel weights apart.
  uint8_t* At(int64_t output) const;
  void SetOutputsOnTiles(int64_t output, int64_t count, const float* weights);
  // A weight's place on tiles.
  uint16_t& OnTiles(int64_t output, int64_t input) const;

  int64_t inputs_ = 0;
  int32_t panels_ = 0;
  WeightType type_ = WeightType::kF32;
  TileProduct tile_product_ = nullptr;
  uint8_t* data_ = nullptr;
};

}  // namespace kvcapsule
