// What a layer of the vision tower has beside dense_ops.h: attention of a tile's patches to each other. All
// patches of a tile see each other, so keys and values are laid out once as the two products read them, which are those
// of packed matrices.
#pragma once
#include <atomic>
#include <cstdint>

#include "model/dense_ops.h"

namespace kvcapsule {

// Rows of a batch are [tiles][patches]; patches are as many in every tile.
struct TowerShape {
  int64_t tiles = 0, patches = 0, heads = 0, head_dim = 0;
  TileProduct tile_product = nullptr;  // what multiplies queries, keys and values, or null: packed matrices do

  int64_t hidden() const { return heads * head_dim; }
  // A head's queries [patches][head_dim], its keys as a packed matrix of head_dim inputs and `patches` outputs, its
  // values as one of `patches` inputs and head_dim outputs: each begins at a whole line. What fills them up holds
  // anything. On tiles they are cut weights of these sizes.
  int64_t QueryFloats() const;
  int64_t KeyFloats() const;
  int64_t ValueFloats() const;
  int64_t HeadFloats() const { return QueryFloats() + KeyFloats() + ValueFloats(); }
};

struct TowerQkvOp : DenseOp {
  using DenseOp::DenseOp;

  TowerShape shape;
};

struct TowerAttentionOp {
  TowerShape shape;
  std::atomic<int32_t> next_task = 0;
};

struct PatchShuffleOp {
  LayerNorm norm;
  float epsilon = 0;
  const int32_t* order = nullptr;  // [patches]: where each row of a tile comes from
  int64_t patches = 0;
};

// What a thread keeps for its part of AttendTower.
int64_t TowerThreadBytes(const TowerShape& shape);

// x [rows][hidden] to [tiles][heads][HeadFloats()]; the matrix has queries, keys and values one behind the other.
ggml_tensor* ProjectTowerQkv(ggml_context* context, ggml_tensor* x, TowerQkvOp& op);
// Of that, softmax(q k^T / sqrt(head_dim)) v: [rows][hidden].
ggml_tensor* AttendTower(ggml_context* context, ggml_tensor* qkv, TowerAttentionOp& op);
// Normalised rows in another order.
ggml_tensor* NormAndShuffle(ggml_context* context, ggml_tensor* x, PatchShuffleOp& op);

}  // namespace kvcapsule
