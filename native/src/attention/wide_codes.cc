#include "attention/wide_codes.h"

#include <immintrin.h>

#include <algorithm>
#include <array>

namespace kvcapsule {
namespace {

constexpr int32_t kTileRows = TileConfig::kMostRows;       // of codes in a tile
constexpr int32_t kTileBytes = TileConfig::kMostRowBytes;  // of a row of codes in a tile
constexpr int32_t kPair = 2;                               // query rows at a time
constexpr int32_t kColumns = 2 * kPair;  // of sums: high and low bytes of each
constexpr int32_t kQueryTileBytes = kTileRows * kColumns * 4;

// Tiles 0 and 1: numbers of a pair of queries, four channels in a row; 2 and 3: rows of codes; 4 to 7: sums.
constexpr TileConfig ConfigOfProducts() {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    const bool codes = tile == 2 || tile == 3;
    config.rows[tile] = kTileRows;
    config.row_bytes[tile] = codes ? kTileBytes : kColumns * sizeof(int32_t);
  }
  return config;
}

// Tile 0: weights; 1 to 3: codes, four rows' of a channel together; 4 to 7: sums.
constexpr TileConfig ConfigOfWeighedSums() {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.rows[tile] = kTileRows;
    config.row_bytes[tile] = kTileBytes;
  }
  return config;
}

}  // namespace

constinit const TileConfig kTilesOfProducts = ConfigOfProducts(), kTilesOfWeighedSums = ConfigOfWeighedSums();

#pragma GCC diagnostic push  // the compiler's own headers hand on registers that nobody has set
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,gfni,amx-tile,amx-int8")
// Named as Highway names what is called after a look at the CPU.
namespace N_AVX3_WIDE {

void Multiply() { _tile_dpbusd(7, 2, 0); }

inline __m512i Narrow(__m512i a, __m512i b) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(a)), _mm512_cvtepi16_epi8(b), 1);
}

// Row 4 j + i becomes word j of block i, so that what is interleaved within blocks comes out in order.
inline __m512i TurnWords(__m512i v) {
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v);
}

// Bytes of 64 whole numbers, high or low; both signed.
struct Halves {
  __m512i high, low;
  explicit Halves(const int16_t* numbers) {
    const __m512i first = _mm512_loadu_si512(numbers), second = _mm512_loadu_si512(numbers + 32);
    const __m512i round = _mm512_set1_epi16(128);
    low = Narrow(first, second);
    high = Narrow(_mm512_srai_epi16(_mm512_add_epi16(first, round), 8),
                  _mm512_srai_epi16(_mm512_add_epi16(second, round), 8));
  }
};

// to [16][4][4 bytes]: row i has the channels 4 i .. 4 i + 3 of both queries' high and low bytes.
inline void LayOutPair(const int16_t* one, const int16_t* other, uint8_t* to) {
  const Halves a(one), b(other);
  const __m512i a_high = TurnWords(a.high), a_low = TurnWords(a.low);
  const __m512i b_high = TurnWords(b.high), b_low = TurnWords(b.low);
  const __m512i a0 = _mm512_unpacklo_epi32(a_high, a_low), a1 = _mm512_unpackhi_epi32(a_high, a_low);
  const __m512i b0 = _mm512_unpacklo_epi32(b_high, b_low), b1 = _mm512_unpackhi_epi32(b_high, b_low);
  _mm512_storeu_si512(to, _mm512_unpacklo_epi64(a0, b0));
  _mm512_storeu_si512(to + 64, _mm512_unpackhi_epi64(a0, b0));
  _mm512_storeu_si512(to + 128, _mm512_unpacklo_epi64(a1, b1));
  _mm512_storeu_si512(to + 192, _mm512_unpackhi_epi64(a1, b1));
}

// High bytes' sums, in even lanes, 256 times beside the low ones'.
inline __m512i Joined(const int32_t* columns) {
  const __m512i v = _mm512_loadu_si512(columns);
  return _mm512_add_epi32(_mm512_slli_epi32(v, 8), _mm512_shuffle_epi32(v, _MM_PERM_CDAB));
}

// Sums of a pair from those of their bytes, columns [16 rows][high, low, high, low].
inline void JoinBytes(const int32_t* columns, int32_t* one, int32_t* other) {
  const __m512i apart = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 2, 6, 10, 14, 18, 22, 26, 30);
  const __m512i upper = _mm512_permutex2var_epi32(Joined(columns), apart, Joined(columns + 16));
  const __m512i lower = _mm512_permutex2var_epi32(Joined(columns + 32), apart, Joined(columns + 48));
  _mm512_storeu_si512(one, _mm512_shuffle_i64x2(upper, lower, _MM_SHUFFLE(1, 0, 1, 0)));
  if (other) _mm512_storeu_si512(other, _mm512_shuffle_i64x2(upper, lower, _MM_SHUFFLE(3, 2, 3, 2)));
}

// A tile's number must stand in the code: sums in `sum`, codes in 2 and, of channels 64 to 127, in 3.
#define KVCAPSULE_SUM_TILE(sum)                                   \
  do {                                                            \
    _tile_zero(sum);                                              \
    _tile_loadd(2, codes, kDim);                                  \
    _tile_dpbusd(sum, 2, 0);                                      \
    if (kDim == 2 * kTileBytes) {                                 \
      _tile_loadd(3, codes + kTileBytes, kDim);                   \
      _tile_dpbusd(sum, 3, 1);                                    \
    }                                                             \
    _tile_stored(sum, to, kColumns * sizeof(int32_t));            \
    codes += int64_t{kTileRows} * kDim;                           \
    to += kTileRows * kColumns;                                   \
  } while (false)

// Sums of `tiles` tiles of rows, [16 rows][kColumns] each. Four are on their way at once: one takes 52 cycles to be done,
// the next can begin after 16.
template <int kDim>
void SumTiles(const uint8_t* codes, int32_t tiles, const uint8_t* queries, int32_t* to) {
  _tile_loadd(0, queries, kColumns * 4);
  if (kDim == 2 * kTileBytes) _tile_loadd(1, queries + kQueryTileBytes, kColumns * 4);
  for (; tiles >= 4; tiles -= 4) {
    KVCAPSULE_SUM_TILE(4);
    KVCAPSULE_SUM_TILE(5);
    KVCAPSULE_SUM_TILE(6);
    KVCAPSULE_SUM_TILE(7);
  }
  if (tiles > 0) KVCAPSULE_SUM_TILE(4);
  if (tiles > 1) KVCAPSULE_SUM_TILE(5);
  if (tiles > 2) KVCAPSULE_SUM_TILE(6);
}
#undef KVCAPSULE_SUM_TILE

template <int kDim>
void SumPair(const uint8_t* codes, int32_t rows, const uint8_t* queries, int32_t* sums, int32_t* other_sums) {
  constexpr int32_t kTiles = 16;
  alignas(64) int32_t columns[kTiles * kTileRows * kColumns];
  for (int32_t first = 0; first < rows; first += kTiles * kTileRows) {
    const int32_t tiles = std::min(kTiles, (rows - first + kTileRows - 1) / kTileRows);
    SumTiles<kDim>(codes + int64_t{first} * kDim, tiles, queries, columns);
    for (int32_t t = 0; t < tiles; ++t) {
      const int32_t at = first + t * kTileRows;
      JoinBytes(columns + t * kTileRows * kColumns, sums + at, other_sums ? other_sums + at : nullptr);
    }
  }
}

// to [4][64]: of four rows of 64 codes, those of a channel together; tile k has in block b the channels 16 b + 4 k to + 3.
inline void LayOutFourRows(const uint8_t* codes, int32_t dim, uint8_t* to, int64_t tile_bytes) {
  const __m512i r0 = _mm512_loadu_si512(codes), r1 = _mm512_loadu_si512(codes + dim),
                r2 = _mm512_loadu_si512(codes + 2 * dim), r3 = _mm512_loadu_si512(codes + 3 * dim);
  const __m512i low01 = _mm512_unpacklo_epi8(r0, r1), high01 = _mm512_unpackhi_epi8(r0, r1);
  const __m512i low23 = _mm512_unpacklo_epi8(r2, r3), high23 = _mm512_unpackhi_epi8(r2, r3);
  _mm512_storeu_si512(to, _mm512_unpacklo_epi16(low01, low23));
  _mm512_storeu_si512(to + tile_bytes, _mm512_unpackhi_epi16(low01, low23));
  _mm512_storeu_si512(to + 2 * tile_bytes, _mm512_unpacklo_epi16(high01, high23));
  _mm512_storeu_si512(to + 3 * tile_bytes, _mm512_unpackhi_epi16(high01, high23));
}

inline void LayOutWeights(const int16_t* from, uint8_t* high, uint8_t* low) {
  const Halves halves(from);
  _mm512_storeu_si512(high, halves.high);
  _mm512_storeu_si512(low, halves.low);
}

// Sums of 64 channels. Codes of a span lie span_bytes after those of the one before.
void WeighChannels(const uint8_t* codes, int64_t span_bytes, const uint8_t* weights, int64_t spans, int32_t* sums,
                   int64_t sum_bytes) {
  constexpr int64_t kTile = kTileRows * kTileBytes;
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t span = 0; span < spans; ++span, codes += span_bytes, weights += kTile) {
    _tile_loadd(0, weights, kTileBytes);
    _tile_loadd(1, codes, kTileBytes);
    _tile_dpbsud(4, 0, 1);
    _tile_loadd(2, codes + kTile, kTileBytes);
    _tile_dpbsud(5, 0, 2);
    _tile_loadd(3, codes + 2 * kTile, kTileBytes);
    _tile_dpbsud(6, 0, 3);
    _tile_loadd(1, codes + 3 * kTile, kTileBytes);
    _tile_dpbsud(7, 0, 1);
  }
  _tile_stored(4, sums, sum_bytes);
  _tile_stored(5, sums + 16, sum_bytes);
  _tile_stored(6, sums + 32, sum_bytes);
  _tile_stored(7, sums + 48, sum_bytes);
}

using Fields = std::array<std::array<uint64_t, 8>, 3>;

// What takes the fields of 4, 2 and 1 bits of a row of so many bits to where they belong in the codes of 64 channels: a
// matrix of bits for each eight bytes.
template <int kDim, int kFirst>
struct FieldMatrices {
  alignas(64) Fields fields = {};

  constexpr explicit FieldMatrices(int bits) {
    int rest = bits;
    for (int f = 0; f < 3; ++f) {
      const int width = 4 >> f, bytes = kDim * width / 8;
      if ((bits & width) == 0) continue;
      rest -= width;
      const int place = 8 - bits + rest;
      for (int lane = 0; lane < 8; ++lane) {
        const int from = (kFirst + 8 * lane) / bytes * width;
        // Bit i of a byte is the parity of what row 7 - i of the matrix leaves of it.
        for (int bit = 0; bit < width; ++bit)
          fields[f][lane] |= (uint64_t{1} << (from + bit)) << (8 * (7 - (place + bit)));
      }
    }
  }
};

template <int kDim, int kFirst>
inline constexpr std::array<FieldMatrices<kDim, kFirst>, 8> kMatrices = {
    FieldMatrices<kDim, kFirst>(0), FieldMatrices<kDim, kFirst>(1), FieldMatrices<kDim, kFirst>(2),
    FieldMatrices<kDim, kFirst>(3), FieldMatrices<kDim, kFirst>(4), FieldMatrices<kDim, kFirst>(5),
    FieldMatrices<kDim, kFirst>(6), FieldMatrices<kDim, kFirst>(7)};

// Bytes of a field of kBytes bytes, repeated until they fill a register.
template <int kBytes>
inline __m512i Repeat(const uint8_t* field) {
  if constexpr (kBytes == 64) return _mm512_loadu_si512(field);
  if constexpr (kBytes == 32)
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(field)));
  if constexpr (kBytes == 16)
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(field)));
  if constexpr (kBytes == 8) return _mm512_broadcastq_epi64(_mm_loadu_si64(field));
}

inline __m512i Moved(__m512i bytes, const std::array<uint64_t, 8>& matrix) {
  return _mm512_gf2p8affine_epi64_epi8(bytes, _mm512_load_si512(matrix.data()), 0);
}

inline void Place(__m512i four, __m512i two, __m512i one, const Fields& fields, uint8_t* to) {
  constexpr int kAny = 0xFE;
  _mm512_storeu_si512(
      to, _mm512_ternarylogic_epi64(Moved(four, fields[0]), Moved(two, fields[1]), Moved(one, fields[2]), kAny));
}

template <int kDim>
const uint8_t* UnpackRows(const uint8_t* codes, const uint8_t* next, const int32_t* bits, int32_t rows, uint8_t* to) {
  constexpr int kByte = kDim / 8;  // bytes of a bit of all channels
  const uint8_t* first = codes;
  for (int32_t i = 0; i < rows; ++i, to += kDim) {
    if (next) __builtin_prefetch(next + (codes - first), 0, 2);
    const int64_t width = bits[i];
    if (width == 8) {  // rare or, in a format of 8 bits, all of them
      for (int c = 0; c < kDim; c += 64) _mm512_storeu_si512(to + c, _mm512_loadu_si512(codes + c));
    } else {
      const __m512i four = Repeat<4 * kByte>(codes), two = Repeat<2 * kByte>(codes + (width & 4) * kByte),
                    one = Repeat<kByte>(codes + (width & 6) * kByte);
      Place(four, two, one, kMatrices<kDim, 0>[width].fields, to);
      if constexpr (kDim == 128) Place(four, two, one, kMatrices<kDim, 64>[width].fields, to + 64);
    }
    codes += width * kByte;
  }
  return codes;
}

}  // namespace N_AVX3_WIDE
#pragma GCC pop_options
#pragma GCC diagnostic pop

void KeepTilesAwake() { N_AVX3_WIDE::Multiply(); }

void LayOutTileQueries(const int16_t* queries, int64_t query_stride, int32_t count, int32_t dim, uint8_t* to) {
  for (int32_t q = 0; q < count; q += kPair) {
    const int16_t* one = queries + q * query_stride;
    const int16_t* other = q + 1 < count ? one + query_stride : one;
    for (int32_t c = 0; c < dim; c += kTileBytes, to += kQueryTileBytes)
      N_AVX3_WIDE::LayOutPair(one + c, other + c, to);
  }
}

void TileCodeSums(const uint8_t* codes, int32_t rows, int32_t dim, const uint8_t* queries, int32_t count,
                  int32_t* sums, int64_t sum_stride) {
  const auto sum = dim == 64 ? N_AVX3_WIDE::SumPair<64> : N_AVX3_WIDE::SumPair<128>;
  for (int32_t q = 0; q < count; q += kPair, queries += TileQueryBytes(kPair, dim)) {
    int32_t* to = sums + q * sum_stride;
    sum(codes, rows, queries, to, q + 1 < count ? to + sum_stride : nullptr);
  }
}

void LayOutTileCodes(const uint8_t* codes, int32_t rows, int32_t dim, uint8_t* to) {
  constexpr int64_t kTile = kTileRows * kTileBytes;
  for (int32_t r = 0; r < rows; r += 4) {
    uint8_t* span = to + int64_t{r} / kTileSpan * kTileSpan * dim + int64_t{r} % kTileSpan / 4 * kTileBytes;
    for (int32_t c = 0; c < dim; c += kTileBytes, span += 4 * kTile)
      N_AVX3_WIDE::LayOutFourRows(codes + int64_t{r} * dim + c, dim, span, kTile);
  }
}

void LayOutTileWeights(const int16_t* weights, int64_t stride, int32_t count, int32_t rows, uint8_t* to) {
  for (int64_t span = 0; span < TileSpans(rows); ++span, to += 2 * kTileWeightRows * kTileSpan) {
    for (int32_t q = 0; q < count; ++q) {
      uint8_t* high = to + int64_t{2} * q * kTileSpan;
      N_AVX3_WIDE::LayOutWeights(weights + q * stride + span * kTileSpan, high, high + kTileSpan);
    }
  }
}

void TileWeighedSums(const uint8_t* codes, const uint8_t* weights, int64_t spans, int32_t dim, int32_t* sums) {
  const auto sum_bytes = static_cast<int64_t>(dim * sizeof(int32_t));
  for (int32_t c = 0; c < dim; c += kTileBytes)
    N_AVX3_WIDE::WeighChannels(codes + int64_t{c} * kTileSpan, int64_t{kTileSpan} * dim, weights, spans, sums + c,
                               sum_bytes);
}

const uint8_t* UnpackByMatrices(const uint8_t* codes, const uint8_t* next, const int32_t* bits, int32_t rows,
                                int32_t dim, uint8_t* to) {
  return (dim == 64 ? N_AVX3_WIDE::UnpackRows<64> : N_AVX3_WIDE::UnpackRows<128>)(codes, next, bits, rows, to);
}

}  // namespace kvcapsule
