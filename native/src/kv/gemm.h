// Small row-major matrix products for a few query rows against cached tiles. Every element is summed in
// the order of k whatever m is, so a row's result does not depend on the rows beside it.
#pragma once

namespace kvcapsule {

// c[m][n] = a[m][k] b[k][n], or c += with accumulate (then n must be a multiple of kLanes).
void GemmNN(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c, int ldc,
            bool accumulate);

// c[m][n] = a[m][k] b[n][k]^T.
void GemmNT(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c, int ldc);

// out[columns][ldo] = in[rows][ldi]^T. Both rows and columns are rounded up to kLanes and read and
// written so far; in and out must have room.
void Transpose(int rows, int columns, const float* in, int ldi, float* out, int ldo);

}  // namespace kvcapsule
