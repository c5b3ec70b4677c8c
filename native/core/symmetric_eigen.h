// Eigenvalues and eigenvectors of a real symmetric matrix.
#pragma once

#include <vector>

#include "operations.h"
#include "status.h"

namespace regimes {

// matrix [n, n] (only its lower triangle is read) = sum_j values[j] u_j u_j^T, values [n] ascending, vectors [n, n] with row j =
// u_j (null: values alone, about five times faster). Householder tridiagonalisation and the implicit QL iteration with Wilkinson's
// shift (Golub and Van Loan, Matrix Computations, 8.3); backward stable: the results are exact for a matrix that differs by a small
// multiple of n 2^-53 times its largest eigenvalue. The bits do not depend on the threads.
// Code::nonfinite for NaN or infinite entries, Code::cancelled, Code::internal when QL does not converge (not known to happen).
Status symmetric_eigen(std::vector<double> matrix, int64_t n, double* values, double* vectors, const Execution& execution = {});

}  // namespace regimes
