// A small row-major matrix product for a few rows against cached tiles. Every element is summed in the order of k
// whatever m is, so a row's result does not depend on the rows beside it.
#pragma once

namespace kvcapsule {

// c[m][n] = a[m][k] b[k][n], or c += with accumulate. n is a multiple of kLanes (simd.h): pad with zeros.
void GemmNN(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c, int ldc,
            bool accumulate);

}  // namespace kvcapsule
