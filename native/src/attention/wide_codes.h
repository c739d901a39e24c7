// Rows of codes on processors that have more than Highway's AVX-512 target asks for. Both functions do in fewer
// instructions what packed-inl.h and unpack-inl.h do in portable ones, to the same bits. Intel 64 and IA-32 Architectures
// Software Developer's Manual, volume 1, chapter 18 (AMX), and volume 2, VGF2P8AFFINEQB (GFNI).
#pragma once
#include <cstdint>

#include "common/tiles.h"

namespace kvcapsule {

// A TileScope's setting for TileCodeSums, and for TileWeighedSums. Either everything is laid out first and many products
// follow each other, or KeepTilesAwake is called now and then.
extern const TileConfig kTilesOfProducts, kTilesOfWeighedSums;

// 16 cycles of work for nobody, in a TileScope of kTilesOfProducts; wanted every 600 cycles.
void KeepTilesAwake();

// Most of a whole number: both of its bytes are signed then.
inline constexpr int32_t kTileLevels = INT16_MAX - 128;

// Bytes of `count` query rows as TileCodeSums takes them, two rows at a time.
constexpr int64_t TileQueryBytes(int32_t count, int32_t dim) { return (count + 1) / 2 * int64_t{4} * dim; }
// queries [count][query_stride]: whole numbers within kTileLevels; dim 64 or 128.
void LayOutTileQueries(const int16_t* queries, int64_t query_stride, int32_t count, int32_t dim, uint8_t* to);

// sums [count][sum_stride]: products of query rows as LayOutTileQueries left them with rows of codes [..][dim], a byte a
// channel. Needs IsaFeature::kInt8Tiles and a TileScope of kTilesOfProducts. Reads rows of codes and writes sums up to the
// next multiple of 16 rows.
void TileCodeSums(const uint8_t* codes, int32_t rows, int32_t dim, const uint8_t* queries, int32_t count,
                  int32_t* sums, int64_t sum_stride);

// Rows that a tile of weights covers, and query rows whose weights it holds.
inline constexpr int32_t kTileSpan = 64, kTileWeightRows = 8;
constexpr int64_t TileSpans(int32_t rows) { return (rows + kTileSpan - 1) / kTileSpan; }

// Rows of codes [..][dim] as TileWeighedSums takes them, [TileSpans(rows)][kTileSpan][dim]; rows up to the next multiple of
// four are read. Below it, two query rows are summed up as quickly by AVX-512 as their codes are laid out.
void LayOutTileCodes(const uint8_t* codes, int32_t rows, int32_t dim, uint8_t* to);

// Weights of up to kTileWeightRows query rows, whole numbers within kTileLevels, as TileWeighedSums takes them,
// [TileSpans(rows)][2 kTileWeightRows][kTileSpan] bytes. weights [count][stride], zero from `rows` up to whole spans.
void LayOutTileWeights(const int16_t* weights, int64_t stride, int32_t count, int32_t rows, uint8_t* to);

// sums [kTileWeightRows][2][dim]: of each query row's high and low bytes, weights times codes over so many spans of rows,
// channels of each 64 in the order of packed-inl.h's Untangle. Needs IsaFeature::kInt8Tiles and a TileScope of
// kTilesOfWeighedSums.
void TileWeighedSums(const uint8_t* codes, const uint8_t* weights, int64_t spans, int32_t dim, int32_t* sums);

// Rows of codes (kv/codec/packed/row_code.h) of bits[i] bits each, one after the other, to a byte a channel, the highest
// bit the byte's, [rows][dim]; dim 64 or 128. next: bytes that are wanted soon, asked for a row at a time, or null. Needs
// IsaFeature::kByteMatrices. Up to kOverRead bytes after the last row are read. Returns where the next row begins.
const uint8_t* UnpackByMatrices(const uint8_t* codes, const uint8_t* next, const int32_t* bits, int32_t rows,
                                int32_t dim, uint8_t* to);

}  // namespace kvcapsule
