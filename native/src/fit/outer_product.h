// The one product of a fit that takes time: of every picture's rows with each other.
#pragma once
#include <cstdint>

namespace kvcapsule {

// gram[i][j] += rows[i] . rows[j] in double precision for j <= i. gram: [n][n], rows: [n][dim].
void AddOuterProduct(const float* rows, int32_t n, int32_t dim, double* gram);

}  // namespace kvcapsule
