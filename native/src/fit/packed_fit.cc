#include "fit/packed_fit.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>

#include "kv/codec/format.h"
#include "kv/codec/packed/row_code.h"
#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// A row that a part could store, before any is left out.
struct Candidate {
  double energy = 0;  // sensitivity * head_dim * variance of a channel
  double place = 0;   // rank in its group, from 0 to 1
  int32_t bits = 0;
};

// One part while it is fitted: all ranks of all groups.
struct PartDraft {
  std::vector<Matrix> bases;                       // [groups] [n_g][n_g], rows by rank
  std::vector<std::vector<double>> variances;      // [groups][n_g] of a channel
  std::vector<std::vector<Candidate>> candidates;  // [groups][n_g]
};

class Fitter {
 public:
  Fitter(const GramAccumulator& statistics, const PackedFitOptions& options)
      : statistics_(statistics), options_(options), rng_(options.seed) {
    profile_.codec = options.codec;
    profile_.tokens = statistics.tokens();
    profile_.layers = statistics.geometry().layers;
    profile_.kv_heads = statistics.geometry().kv_heads;
    profile_.head_dim = statistics.geometry().head_dim;
    profile_.rope_theta = options.rope_theta;
    profile_.groups = options.groups;
    profile_.marker_rows = options.marker_rows;
    if (options.bits_kind == BitsKind::kPicture) profile_.row_cost = options.row_cost;
    Check();
    columns_ = profile_.Columns();
    begins_ = profile_.GroupBegins();
  }

  PackedProfile Fit() {
    MakeTransform();
    for (int32_t i = 0; i < PartCount(); ++i) {
      profile_.parts.emplace_back();
      MakeTemplate(i);
      drafts_.push_back(Decompose(i));
    }
    SetEnergies();
    ChooseRows();
    for (int32_t i = 0; i < PartCount(); ++i) KeepRows(i);
    return std::move(profile_);
  }

 private:
  int32_t PartCount() const { return 2 * profile_.layers * profile_.kv_heads; }

  void Check() const {
    const auto require = [](bool holds, const char* problem) {
      if (!holds) throw Error(ErrorCode::kConfigInvalid, std::string("fit: ") + problem);
    };
    const int32_t n = profile_.tokens, dim = profile_.head_dim;
    require(statistics_.pictures() > 0, "no picture has been added");
    require(dim % 8 == 0, "the channels of a head are no multiple of 8");
    require(!options_.rotate || (dim & (dim - 1)) == 0, "the channels of a head are no power of two");
    require(static_cast<int32_t>(options_.groups.size()) == n, "groups do not name every row");
    std::vector<bool> seen(n);
    for (const int32_t group : options_.groups) {
      require(group >= 0 && group < n, "a group is out of range");
      seen[group] = true;
    }
    require(std::is_partitioned(seen.begin(), seen.end(), [](bool used) { return used; }),
            "a group is empty");
    for (size_t i = 0; i < options_.marker_rows.size(); ++i) {
      require(options_.marker_rows[i] >= 0 && options_.marker_rows[i] < n, "a marker row is out of range");
      require(i == 0 || options_.marker_rows[i] > options_.marker_rows[i - 1], "marker rows do not ascend");
    }
    const bool fixed = options_.bits_kind == BitsKind::kLeading || options_.bits_kind == BitsKind::kEqual;
    require(fixed ? options_.bits >= 1 && options_.bits <= kMaxRowBits : options_.bits == 0,
            "bits are not 1 to 8, or not wanted");
    require(
        options_.sensitivities.empty() || static_cast<int32_t>(options_.sensitivities.size()) == PartCount(),
        "there is not one sensitivity a part");
    require(options_.candidates >= 1 && std::isfinite(options_.candidates),
            "there are less candidates than rows");
    require(options_.row_cost >= 0 && options_.row_cost <= kMaxRowBits,
            "a row costs less than 0 or more than 8 bits");
    require(options_.weights.empty() || static_cast<int32_t>(options_.weights.size()) == PartCount(),
            "there is not one list of weights a part");
    for (const auto& weights : options_.weights)
      require(static_cast<int32_t>(weights.size()) == n, "weights do not name every row");
    for (const double s : options_.sensitivities)
      require(s >= 0 && std::isfinite(s), "a sensitivity is negative");
  }

  void MakeTransform() {
    const int32_t dim = profile_.head_dim;
    profile_.transform.assign(static_cast<size_t>(dim) * dim, 0);
    const float unit = options_.rotate ? 1 / std::sqrt(static_cast<float>(dim)) : 1;
    for (int32_t i = 0; i < dim; ++i) {
      const float sign = options_.rotate && (rng_() & 1) ? -unit : unit;
      for (int32_t j = 0; j < dim; ++j) {
        const bool odd = std::popcount(static_cast<uint32_t>(i & j)) % 2 == 1;
        if (options_.rotate || i == j)
          profile_.transform[static_cast<size_t>(i) * dim + j] = odd && options_.rotate ? -sign : sign;
      }
    }
  }

  void MakeTemplate(int32_t number) {
    PackedPart& part = profile_.parts[number];
    const int32_t n = profile_.tokens, dim = profile_.head_dim;
    const TemplateKind kind = number % 2 == 0 ? options_.key_template : options_.value_template;
    if (kind == TemplateKind::kNone) return;
    if (kind == TemplateKind::kAll) {
      part.template_rows.resize(n);
      std::iota(part.template_rows.begin(), part.template_rows.end(), 0);
    } else {
      part.template_rows = profile_.marker_rows;
    }
    const double* sum = statistics_.sum(number);
    const auto pictures = static_cast<double>(statistics_.pictures());
    for (const int32_t row : part.template_rows) {
      for (int32_t c = 0; c < dim; ++c)
        part.rows.push_back(static_cast<float>(sum[static_cast<int64_t>(row) * dim + c] / pictures));
    }
    if (kind != TemplateKind::kGroup) return;
    const auto groups = static_cast<size_t>(profile_.group_count());
    std::vector<double> means(groups * dim), counts(groups);
    for (int32_t row = 0; row < n; ++row) {
      if (std::binary_search(part.template_rows.begin(), part.template_rows.end(), row)) continue;
      counts[profile_.groups[row]] += pictures;
      for (int32_t c = 0; c < dim; ++c)
        means[static_cast<size_t>(profile_.groups[row]) * dim + c] +=
            sum[static_cast<int64_t>(row) * dim + c];
    }
    for (size_t i = 0; i < means.size(); ++i)
      part.means.push_back(static_cast<float>(means[i] / std::max(counts[i / dim], 1.0)));
  }

  // Template of every row, [n][dim].
  Matrix TemplateOf(const PackedPart& part) const {
    const int32_t n = profile_.tokens, dim = profile_.head_dim;
    Matrix all = Matrix::Zero(n, dim);
    for (int32_t row = 0; row < n && !part.means.empty(); ++row) {
      for (int32_t c = 0; c < dim; ++c)
        all(row, c) = part.means[static_cast<size_t>(profile_.groups[row]) * dim + c];
    }
    for (size_t t = 0; t < part.template_rows.size(); ++t) {
      for (int32_t c = 0; c < dim; ++c) all(part.template_rows[t], c) = part.rows[t * dim + c];
    }
    return all;
  }

  // Gram of a group's weighted residuals, a channel of a picture: [n_g][n_g]. An orthonormal channel
  // transform leaves it as it is.
  Matrix ResidualGram(int32_t number, const Matrix& templates, size_t group) const {
    const std::vector<float>& weights = profile_.parts[number].weights;
    const int32_t n = profile_.tokens, dim = profile_.head_dim;
    const auto pictures = static_cast<double>(statistics_.pictures());
    const double* gram = statistics_.gram(number);
    const Eigen::Map<const Matrix> sum(statistics_.sum(number), n, dim);
    const int32_t extent = begins_[group + 1] - begins_[group];
    Matrix out(extent, extent);
    for (int32_t a = 0; a < extent; ++a) {
      for (int32_t b = 0; b <= a; ++b) {
        const int32_t i = columns_[begins_[group] + a], j = columns_[begins_[group] + b];
        // The accumulator fills the lower triangle.
        const double raw = gram[static_cast<int64_t>(std::max(i, j)) * n + std::min(i, j)];
        const double centred = raw - templates.row(i).dot(sum.row(j)) - sum.row(i).dot(templates.row(j)) +
                               pictures * templates.row(i).dot(templates.row(j));
        const double weight = static_cast<double>(weights[begins_[group] + a]) * weights[begins_[group] + b];
        out(a, b) = out(b, a) = weight * centred / (pictures * dim);
      }
    }
    return out;
  }

  PartDraft Decompose(int32_t number) {
    PartDraft draft;
    PackedPart& part = profile_.parts[number];
    for (const int32_t row : columns_)
      part.weights.push_back(options_.weights.empty() ? 1.0f : options_.weights[number][row]);
    const Matrix templates = TemplateOf(part);
    for (size_t g = 0; g + 1 < begins_.size(); ++g) {
      const Matrix gram = ResidualGram(number, templates, g);
      if (options_.basis == BasisKind::kRows) {
        DrawRows(gram, draft);
      } else {
        Principal(gram, draft);
      }
    }
    return draft;
  }

  // The largest component of each vector is positive, so that equal statistics give equal bytes.
  static void Principal(const Matrix& gram, PartDraft& draft) {
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(gram);
    if (solver.info() != Eigen::Success)
      throw Error(ErrorCode::kEngineFailed, "fit: a group's Gram has no eigenvectors");
    const Eigen::Index n = gram.rows();
    Matrix basis(n, n);
    std::vector<double> variances(n);
    for (Eigen::Index r = 0; r < n; ++r) {
      const Eigen::VectorXd vector = solver.eigenvectors().col(n - 1 - r);
      Eigen::Index largest = 0;
      vector.cwiseAbs().maxCoeff(&largest);
      basis.row(r) = (vector[largest] < 0 ? -vector : vector).transpose();
      variances[r] = std::max(solver.eigenvalues()[n - 1 - r], 0.0);
    }
    draft.bases.push_back(std::move(basis));
    draft.variances.push_back(std::move(variances));
  }

  void DrawRows(const Matrix& gram, PartDraft& draft) {
    const Eigen::Index n = gram.rows();
    std::vector<Eigen::Index> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), rng_);
    Matrix basis = Matrix::Zero(n, n);
    std::vector<double> variances(n);
    for (Eigen::Index r = 0; r < n; ++r) {
      basis(r, order[r]) = 1;
      variances[r] = std::max(gram(order[r], order[r]), 0.0);
    }
    draft.bases.push_back(std::move(basis));
    draft.variances.push_back(std::move(variances));
  }

  void SetEnergies() {
    for (int32_t i = 0; i < PartCount(); ++i) {
      PartDraft& draft = drafts_[i];
      const double sensitivity = options_.sensitivities.empty() ? 1 : options_.sensitivities[i];
      profile_.parts[i].sensitivity = static_cast<float>(sensitivity);
      for (const auto& variances : draft.variances) {
        auto& list = draft.candidates.emplace_back(variances.size());
        for (size_t r = 0; r < list.size(); ++r) {
          list[r].energy = sensitivity * profile_.head_dim * variances[r];
          list[r].place = (static_cast<double>(r) + 0.5) / static_cast<double>(list.size());
        }
      }
    }
  }

  template <class Visit>
  void VisitCandidates(Visit visit) {
    for (PartDraft& draft : drafts_) {
      for (auto& list : draft.candidates) {
        for (Candidate& candidate : list) visit(candidate);
      }
    }
  }

  // Bytes left for rows and their levels.
  int64_t Room() const {
    const int64_t header = CapsuleHeader::kSlotBytes + 4LL * PartCount();
    const int64_t room = options_.bytes - header - PartCount() / 2;  // a part's levels end with a whole byte
    if (room <= 0) throw Error(ErrorCode::kConfigInvalid, "fit: the capsule has no room for rows");
    return room;
  }

  void ChooseRows() {
    if (options_.bits_kind == BitsKind::kLeading || options_.bits_kind == BitsKind::kEqual)
      return TakeLeading();
    const bool by_picture = options_.bits_kind == BitsKind::kPicture;
    const double budget = static_cast<double>(Room()) * (by_picture ? options_.candidates : 1.0);
    const BitThresholds unit = UnitThresholds(profile_.row_cost);
    std::vector<float> energies;
    VisitCandidates([&](Candidate& candidate) { energies.push_back(static_cast<float>(candidate.energy)); });
    const auto bytes_per_bit = static_cast<double>(RowCodeBytes(1, profile_.head_dim));
    // Levels take half a byte a stored row, and how many rows there are follows from the room left.
    double levels = 0;
    for (int32_t pass = 0; pass < 3; ++pass) {
      const auto room = static_cast<int64_t>(std::max(budget - levels, 0.0) / bytes_per_bit);
      const BitThresholds thresholds = ThresholdsOf(PriceThatFits(energies, unit, room), unit);
      double stored = 0;
      VisitCandidates([&](Candidate& candidate) {
        candidate.bits = BitsOf(static_cast<float>(candidate.energy), thresholds);
        stored += candidate.bits > 0;
      });
      levels = std::max(levels, std::ceil(stored / 2));
    }
    if (by_picture) profile_.bytes = options_.bytes;
  }

  void TakeLeading() {
    std::vector<Candidate*> order;
    VisitCandidates([&](Candidate& candidate) { order.push_back(&candidate); });
    const bool equal = options_.bits_kind == BitsKind::kEqual;
    std::stable_sort(order.begin(), order.end(), [equal](const Candidate* a, const Candidate* b) {
      return equal ? a->place < b->place : a->energy > b->energy;
    });
    const double row_bytes = static_cast<double>(RowCodeBytes(options_.bits, profile_.head_dim)) + 0.5;
    const auto count = std::min(order.size(), static_cast<size_t>(static_cast<double>(Room()) / row_bytes));
    for (size_t i = 0; i < count; ++i) order[i]->bits = options_.bits;
  }

  // Leaves out what has no bits; what is kept leads its group.
  void KeepRows(int32_t number) {
    PackedPart& part = profile_.parts[number];
    const PartDraft& draft = drafts_[number];
    for (size_t g = 0; g < draft.bases.size(); ++g) {
      int32_t rank = 0;
      for (size_t r = 0; r < draft.candidates[g].size(); ++r) {
        const int32_t bits = draft.candidates[g][r].bits;
        part.spectrum.push_back(static_cast<float>(std::sqrt(draft.variances[g][r])));
        if (bits == 0) continue;
        ++rank;
        for (Eigen::Index i = 0; i < draft.bases[g].cols(); ++i)
          part.basis.push_back(static_cast<float>(draft.bases[g](static_cast<Eigen::Index>(r), i)));
        part.deviations.push_back(static_cast<float>(std::sqrt(draft.variances[g][r])));
        if (options_.bits_kind != BitsKind::kPicture) part.bits.push_back(static_cast<uint8_t>(bits));
      }
      part.ranks.push_back(rank);
    }
  }

  const GramAccumulator& statistics_;
  const PackedFitOptions& options_;
  std::mt19937_64 rng_;
  PackedProfile profile_;
  std::vector<int32_t> columns_, begins_;
  std::vector<PartDraft> drafts_;
};

// The enumerator whose name stands at its number.
template <class Enum>
Enum Parse(const std::string& text, std::initializer_list<const char*> names) {
  const auto found = std::find(names.begin(), names.end(), text);
  if (found == names.end())
    throw Error(ErrorCode::kConfigInvalid, "fit: " + text.substr(0, 40) + " is no choice");
  return static_cast<Enum>(found - names.begin());
}

}  // namespace

TemplateKind ParseTemplate(const std::string& text) {
  return Parse<TemplateKind>(text, {"none", "markers", "group", "all"});
}
BasisKind ParseBasis(const std::string& text) { return Parse<BasisKind>(text, {"principal", "rows"}); }
BitsKind ParseBits(const std::string& text) {
  return Parse<BitsKind>(text, {"picture", "static", "leading", "equal"});
}

PackedProfile FitPacked(const GramAccumulator& statistics, const PackedFitOptions& options) {
  return Fitter(statistics, options).Fit();
}

}  // namespace kvcapsule
