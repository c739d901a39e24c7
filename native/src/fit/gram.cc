#include "fit/gram.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "common/half.h"
#include "fit/outer_product.h"
#include "kv/codec/packed/packed_format.h"
#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixMap = Eigen::Map<Matrix>;
using ConstMatrixMap = Eigen::Map<const Matrix>;

using FloatMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Covered rows of one (layer, part, head), [n][head_dim].
FloatMatrix Gather(const KvPool& pool, const RawSegment& segment, const std::vector<int32_t>& covered,
                   int32_t layer, KvPart part, int32_t kv_head) {
  const KvGeometry& geometry = pool.geometry();
  FloatMatrix rows(covered.size(), geometry.head_dim);
  for (size_t i = 0; i < covered.size(); ++i) {
    ToFloat(geometry.dtype, RawRow(pool, segment, layer, part, kv_head, covered[i]), geometry.head_dim,
            rows.row(i).data());
  }
  return rows;
}

// Pivoted Cholesky without the factor's rows nobody needs: m times the row with the largest residual.
std::vector<int32_t> SelectRows(const Matrix& gram, int32_t m) {
  const Eigen::Index n = gram.rows();
  Eigen::VectorXd residual = gram.diagonal();
  Eigen::MatrixXd factor = Eigen::MatrixXd::Zero(n, m);
  std::vector<int32_t> mask;
  std::vector<bool> taken(n, false);
  for (int32_t step = 0; step < m; ++step) {
    Eigen::Index pivot = -1;
    for (Eigen::Index i = 0; i < n; ++i) {
      if (!taken[i] && (pivot < 0 || residual[i] > residual[pivot])) pivot = i;
    }
    taken[pivot] = true;
    mask.push_back(static_cast<int32_t>(pivot));
    // Nothing left to explain: the remaining picks go by number and the factor's columns stay zero.
    if (!(residual[pivot] > 1e-14 * std::max(gram.diagonal().maxCoeff(), 1e-300))) continue;
    const Eigen::VectorXd column =
        (gram.col(pivot) - factor.leftCols(step) * factor.row(pivot).head(step).transpose()) /
        std::sqrt(residual[pivot]);
    factor.col(step) = column;
    residual -= column.cwiseAbs2();
  }
  std::sort(mask.begin(), mask.end());
  return mask;
}

// theta = (G_mm + lambda I)^-1 G_mn; kept rows are their own reconstruction, without the ridge's bias.
Matrix FitTheta(const Matrix& gram, const std::vector<int32_t>& mask, double ridge) {
  const auto m = static_cast<Eigen::Index>(mask.size()), n = gram.rows();
  Matrix kept(m, m), all(m, n);
  for (Eigen::Index i = 0; i < m; ++i) {
    all.row(i) = gram.row(mask[i]);
    for (Eigen::Index j = 0; j < m; ++j) kept(i, j) = gram(mask[i], mask[j]);
  }
  // The floor keeps the system solvable where every key seen was zero.
  kept.diagonal().array() += std::max(ridge * kept.trace() / static_cast<double>(m), 1e-30);
  Matrix theta = Eigen::LDLT<Eigen::MatrixXd>(kept).solve(all);
  for (Eigen::Index i = 0; i < m; ++i) {
    theta.col(mask[i]).setZero();
    theta(i, mask[i]) = 1;
  }
  return theta;
}

// Leading eigenvectors of the centred Gram, strongest first, as rows; the largest component is positive so
// that the same statistics give the same bytes.
Matrix FitBasis(const Matrix& centred, int32_t m) {
  const Eigen::Index n = centred.rows();
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(centred);
  if (solver.info() != Eigen::Success)
    throw Error(ErrorCode::kEngineFailed, "the value Gram has no eigenvectors");
  Matrix basis(m, n);
  for (int32_t r = 0; r < m; ++r) {
    Eigen::VectorXd vector = solver.eigenvectors().col(n - 1 - r);
    Eigen::Index largest = 0;
    vector.cwiseAbs().maxCoeff(&largest);
    basis.row(r) = vector[largest] < 0 ? -vector : vector;
  }
  return basis;
}

std::vector<float> ToFloats(const Matrix& matrix) {
  std::vector<float> out(matrix.size());
  std::transform(matrix.data(), matrix.data() + matrix.size(), out.begin(),
                 [](double x) { return static_cast<float>(x); });
  return out;
}

CapsuleHead FitHead(const Matrix& key_gram, const Matrix& value_gram, const Matrix& value_sum,
                    int64_t pictures, int32_t m, double ridge) {
  const Eigen::Index n = key_gram.rows();
  CapsuleHead head;
  head.rows = m;
  head.mask = SelectRows(key_gram, m);
  head.theta = ToFloats(FitTheta(key_gram, head.mask, ridge));
  // sum (V - 1 mu^T)(V - 1 mu^T)^T = sum V V^T - s 1^T - 1 s^T + pictures |mu|^2 1 1^T with s = (sum V) mu
  const Eigen::VectorXd mean = value_sum.colwise().mean().transpose() / static_cast<double>(pictures);
  const Eigen::VectorXd s = value_sum * mean;
  const Eigen::VectorXd ones = Eigen::VectorXd::Ones(n);
  Matrix centred = value_gram - s * ones.transpose() - ones * s.transpose();
  centred.array() += static_cast<double>(pictures) * mean.squaredNorm();
  head.basis = ToFloats(FitBasis(centred, m));
  head.mean = ToFloats(mean);
  return head;
}

}  // namespace

GramAccumulator::GramAccumulator(const KvGeometry& geometry, int32_t tokens, float rope_theta)
    : geometry_(geometry), tokens_(tokens), rope_theta_(rope_theta) {
  if (tokens <= 0) throw Error(ErrorCode::kConfigInvalid, "a span to be fitted has no tokens");
  const size_t parts = 2 * static_cast<size_t>(geometry.layers) * geometry.kv_heads;
  const size_t n = tokens;
  grams_.assign(parts, std::vector<double>(n * n));
  sums_.assign(parts, std::vector<double>(n * geometry.head_dim));
}

void GramAccumulator::Add(const KvPool& pool, const RawSegment& segment, const std::vector<int32_t>& covered,
                          int32_t position) {
  if (static_cast<int64_t>(covered.size()) != tokens_) {
    throw Error(ErrorCode::kConfigInvalid, "the fit is for spans of " + std::to_string(tokens_) +
                                               " covered tokens, not " + std::to_string(covered.size()));
  }
  for (size_t i = 0; i < covered.size(); ++i) {
    if (covered[i] < 0 || covered[i] >= segment.tokens || (i > 0 && covered[i] <= covered[i - 1])) {
      throw Error(ErrorCode::kConfigInvalid, "covered rows are not ascending rows of the segment");
    }
  }
  for (size_t i = 0; i < grams_.size(); ++i) {
    const auto head = static_cast<int32_t>(i / 2);
    const auto part = static_cast<KvPart>(i % 2);
    FloatMatrix rows =
        Gather(pool, segment, covered, head / geometry_.kv_heads, part, head % geometry_.kv_heads);
    if (part == KvPart::kKey)
      RotateRows(rows.data(), tokens_, geometry_.head_dim, geometry_.head_dim, rope_theta_, -position);
    AddOuterProduct(rows.data(), tokens_, geometry_.head_dim, grams_[i].data());
    MatrixMap(sums_[i].data(), tokens_, geometry_.head_dim) += rows.cast<double>();
  }
  ++pictures_;
}

double GramAccumulator::Deviation(int32_t part) const {
  if (pictures_ == 0) return 0;
  const auto pictures = static_cast<double>(pictures_);
  double squares = 0;
  for (int32_t i = 0; i < tokens_; ++i) squares += grams_[part][static_cast<size_t>(i) * tokens_ + i];
  for (const double sum : sums_[part]) squares -= sum * sum / pictures;
  return std::sqrt(std::max(squares, 0.0) / (pictures * tokens_ * geometry_.head_dim));
}

CapsuleProfile GramAccumulator::Fit(const FitOptions& options) const {
  if (pictures_ == 0) throw Error(ErrorCode::kConfigInvalid, "nothing has been added to the fit");
  if (static_cast<int64_t>(options.retention.size()) != geometry_.layers) {
    throw Error(ErrorCode::kConfigInvalid, "retention names " + std::to_string(options.retention.size()) +
                                               " layers, the model has " + std::to_string(geometry_.layers));
  }
  if (!(options.ridge >= 0)) throw Error(ErrorCode::kConfigInvalid, "the ridge is negative");
  CapsuleProfile profile;
  profile.tokens = tokens_;
  profile.layers = geometry_.layers;
  profile.kv_heads = geometry_.kv_heads;
  profile.head_dim = geometry_.head_dim;
  const auto full = [this](const std::vector<double>& lower) {
    return Matrix(ConstMatrixMap(lower.data(), tokens_, tokens_).selfadjointView<Eigen::Lower>());
  };
  for (int32_t layer = 0; layer < geometry_.layers; ++layer) {
    const float retention = options.retention[layer];
    if (!(retention > 0 && retention <= 1)) {
      throw Error(ErrorCode::kConfigInvalid,
                  "retention of layer " + std::to_string(layer) + " is outside (0, 1]");
    }
    // The slack keeps 0.1f * 10, a little above 1 in double, from rounding up to 2.
    const auto m = std::clamp(
        static_cast<int32_t>(std::ceil(static_cast<double>(retention) * tokens_ - 1e-4)), 1, tokens_);
    for (int32_t kv_head = 0; kv_head < geometry_.kv_heads; ++kv_head) {
      const size_t at = static_cast<size_t>(layer) * geometry_.kv_heads + kv_head;
      profile.heads.push_back(FitHead(full(grams_[2 * at]), full(grams_[2 * at + 1]),
                                      ConstMatrixMap(sums_[2 * at + 1].data(), tokens_, geometry_.head_dim),
                                      pictures_, m, options.ridge));
    }
  }
  return profile;
}

}  // namespace kvcapsule
