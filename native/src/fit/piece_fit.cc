#include "fit/piece_fit.h"

#include <Eigen/Core>
#include <algorithm>
#include <numeric>

#include "kv/codec/packed/packed_format.h"
#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using FloatMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void Require(bool holds, const char* problem) {
  if (!holds) throw Error(ErrorCode::kConfigInvalid, std::string("fit of pieces: ") + problem);
}

// A piece in the pictures of one grid.
struct Occurrence {
  const GridStatistics* grid = nullptr;
  int32_t site = 0, row = 0;
};

// What all pieces of a kind have in common, in one part.
struct Pool {
  Matrix residuals;             // [rows][rows] of a piece, summed over the channels
  std::vector<double> attention;  // [rows] what a row counts for in a picture
};

class PieceFitter {
 public:
  PieceFitter(std::span<const GridStatistics> grids, const PieceFitOptions& options) : options_(options) {
    Check();
    Require(!grids.empty(), "no picture has been added");
    geometry_ = grids.front().rows->geometry();
    for (const GridStatistics& grid : grids) FindPieces(grid);
    for (const Occurrence& piece : occurrences_) seen_[KindOf(piece)] += piece.grid->rows->pictures();
    MakeCanonical();
  }

  PieceProfile Fit() {
    const int32_t parts = 2 * geometry_.layers * geometry_.kv_heads;
    std::vector<std::vector<Pool>> pools;
    for (int32_t part = 0; part < parts; ++part) {
      pools.push_back(PoolPart(part));
      profile_.templates.push_back(std::move(templates_));
    }
    const PackedProfile whole = FitCanonical(pools);
    profile_.sites = options_.sites;
    for (const auto& layout : options_.layouts) {
      if (layout.bytes == 0) continue;
      profile_.layouts.push_back(layout);
      if (!whole.chooses_bits()) profile_.layouts.back().bytes = 0;
    }
    profile_.kinds = KindsOf(whole);
    return std::move(profile_);
  }

 private:
  int32_t KindOf(const Occurrence& piece) const { return options_.sites[piece.site]; }
  int32_t RowsOf(int32_t kind) const { return options_.kind_rows[kind]; }

  void Check() {
    const auto kinds = static_cast<int32_t>(options_.kind_rows.size());
    const auto sites = static_cast<int32_t>(options_.sites.size());
    const auto within = [](const std::vector<int32_t>& list, int32_t least, int32_t end) {
      return std::all_of(list.begin(), list.end(), [&](int32_t x) { return x >= least && x < end; });
    };
    Require(kinds > 0 && within(options_.kind_rows, 1, 1 << 16), "a kind of piece has no rows");
    Require(options_.kind_markers.size() == options_.kind_rows.size() && within(options_.kind_markers, 0, 2),
            "kinds are not markers or none");
    Require(within(options_.sites, 0, kinds), "a site is of no kind");
    for (const auto& layout : options_.layouts)
      Require(!layout.sites.empty() && within(layout.sites, 0, sites) && layout.bytes >= 0, "a layout has no such site");
    seen_.resize(kinds);
  }

  void FindPieces(const GridStatistics& grid) {
    for (const auto& layout : options_.layouts) {
      std::vector<Occurrence> pieces;
      int32_t row = 0;
      for (const int32_t site : layout.sites) {
        pieces.push_back({&grid, site, row});
        row += RowsOf(options_.sites[site]);
      }
      if (row != grid.rows->tokens()) continue;
      Require(grid.rows->pictures() > 0, "no picture has been added");
      occurrences_.insert(occurrences_.end(), pieces.begin(), pieces.end());
      return;
    }
    Require(false, "pictures were added of a grid that has no layout");
  }

  // The kinds of the longest layout that is to be served, in order, then one piece of each kind that it has none of.
  void MakeCanonical() {
    std::vector<bool> wanted(seen_.size());
    int64_t bytes = 0;
    for (const auto& layout : options_.layouts) {
      for (const int32_t site : layout.sites) wanted[options_.sites[site]] = wanted[options_.sites[site]] || layout.bytes > 0;
      if (layout.bytes <= bytes) continue;
      bytes = layout.bytes;
      canonical_.clear();
      for (const int32_t site : layout.sites) canonical_.push_back(options_.sites[site]);
    }
    Require(bytes > 0, "no layout is to be served");
    canonical_bytes_ = bytes;
    for (int32_t kind = 0; kind < static_cast<int32_t>(seen_.size()); ++kind) {
      Require(!wanted[kind] || seen_[kind] > 0, "a layout has a kind of piece that no picture had");
      Require(wanted[kind], "a kind of piece is in no layout that is to be served");
      if (std::find(canonical_.begin(), canonical_.end(), kind) == canonical_.end()) canonical_.push_back(kind);
    }
  }

  // Sum over the pictures of a piece's rows, keys turned back to its first: [rows][dim].
  Matrix SumOf(const Occurrence& piece, int32_t part) const {
    const int32_t rows = RowsOf(KindOf(piece)), dim = geometry_.head_dim;
    const auto pictures = static_cast<double>(piece.grid->rows->pictures());
    const double* sum = piece.grid->rows->sum(part) + static_cast<int64_t>(piece.row) * dim;
    FloatMatrix mean = (Eigen::Map<const Matrix>(sum, rows, dim) / pictures).cast<float>();
    if (part % 2 == 0) RotateRows(mean.data(), rows, dim, dim, options_.packed.rope_theta, -piece.row);
    return mean.cast<double>() * pictures;
  }

  bool HasRowTemplates(int32_t part, int32_t kind) const {
    const TemplateKind choice = part % 2 == 0 ? options_.packed.key_template : options_.packed.value_template;
    if (choice == TemplateKind::kNone) return false;
    return choice == TemplateKind::kAll || options_.kind_markers[kind] == 1;
  }

  // Fills templates_; the template of each site, [rows][dim].
  std::vector<Matrix> MakeTemplates(int32_t part, const std::vector<Matrix>& sums) {
    const int32_t dim = geometry_.head_dim;
    const auto sites = static_cast<int32_t>(options_.sites.size());
    std::vector<Matrix> site_sums(sites), kind_sums(seen_.size());
    std::vector<double> counts(sites);
    for (int32_t site = 0; site < sites; ++site) site_sums[site] = Matrix::Zero(RowsOf(options_.sites[site]), dim);
    for (size_t kind = 0; kind < seen_.size(); ++kind) kind_sums[kind] = Matrix::Zero(options_.kind_rows[kind], dim);
    for (size_t i = 0; i < occurrences_.size(); ++i) {
      site_sums[occurrences_[i].site] += sums[i];
      counts[occurrences_[i].site] += static_cast<double>(occurrences_[i].grid->rows->pictures());
      kind_sums[KindOf(occurrences_[i])] += sums[i];
    }
    const bool with_means =
        (part % 2 == 0 ? options_.packed.key_template : options_.packed.value_template) == TemplateKind::kGroup;
    templates_ = {};
    std::vector<Matrix> out;
    for (int32_t site = 0; site < sites; ++site) {
      const int32_t kind = options_.sites[site];
      const Matrix mean = counts[site] > 0 ? Matrix(site_sums[site] / counts[site])
                                           : Matrix(kind_sums[kind] / static_cast<double>(seen_[kind]));
      const Matrix all = mean.colwise().mean();  // [1][dim]
      const auto append = [](const Matrix& from, std::vector<float>& to) {
        std::transform(from.data(), from.data() + from.size(), std::back_inserter(to),
                       [](double x) { return static_cast<float>(x); });
      };
      if (with_means) append(all, templates_.means);
      if (HasRowTemplates(part, kind)) {
        templates_.row_sites.push_back(site);
        append(mean, templates_.rows);
        out.push_back(mean);
      } else {
        out.push_back(with_means ? Matrix(all.replicate(mean.rows(), 1)) : Matrix(Matrix::Zero(mean.rows(), dim)));
      }
    }
    return out;
  }

  // Gram of a piece's rows about its template, summed over pictures and channels.
  Matrix ResidualGram(const Occurrence& piece, int32_t part, const Matrix& sum, const Matrix& means) const {
    const int32_t n = piece.grid->rows->tokens();
    const auto pictures = static_cast<double>(piece.grid->rows->pictures());
    const double* gram = piece.grid->rows->gram(part);
    Matrix out(sum.rows(), sum.rows());
    for (Eigen::Index a = 0; a < sum.rows(); ++a) {
      for (Eigen::Index b = 0; b <= a; ++b) {
        // The accumulator fills the lower triangle; turning all rows of a piece alike changes nothing in it.
        const double raw = gram[(piece.row + a) * n + piece.row + b];
        out(a, b) = out(b, a) = raw - means.row(a).dot(sum.row(b)) - sum.row(a).dot(means.row(b)) +
                                pictures * means.row(a).dot(means.row(b));
      }
    }
    return out;
  }

  std::vector<Pool> PoolPart(int32_t part) {
    std::vector<Matrix> sums;
    for (const Occurrence& piece : occurrences_) sums.push_back(SumOf(piece, part));
    const std::vector<Matrix> means = MakeTemplates(part, sums);
    std::vector<Pool> pools;
    for (const int32_t rows : options_.kind_rows)
      pools.push_back({Matrix::Zero(rows, rows), std::vector<double>(rows)});
    for (size_t i = 0; i < occurrences_.size(); ++i) {
      const Occurrence& piece = occurrences_[i];
      Pool& pool = pools[KindOf(piece)];
      pool.residuals += ResidualGram(piece, part, sums[i], means[piece.site]);
      for (size_t row = 0; piece.grid->attention && row < pool.attention.size(); ++row)
        pool.attention[row] += piece.grid->attention->counts(part)[piece.row + row];
    }
    for (size_t kind = 0; kind < pools.size(); ++kind) {
      const auto pieces = static_cast<double>(std::max<int64_t>(seen_[kind], 1));
      pools[kind].residuals /= pieces;
      for (double& count : pools[kind].attention) count /= pieces;
    }
    return pools;
  }

  // Fits the canonical span as if one picture had been seen, whose every piece is its kind's residuals: groups are
  // pieces, and nothing is left for templates.
  PackedProfile FitCanonical(const std::vector<std::vector<Pool>>& pools) const {
    PackedFitOptions packed = options_.packed;
    packed.key_template = packed.value_template = TemplateKind::kNone;
    packed.bytes = canonical_bytes_;
    packed.weights.clear();
    int32_t row = 0;
    for (size_t group = 0; group < canonical_.size(); ++group) {
      packed.groups.insert(packed.groups.end(), RowsOf(canonical_[group]), static_cast<int32_t>(group));
      for (int32_t i = 0; i < RowsOf(canonical_[group]); ++i, ++row) {
        if (options_.kind_markers[canonical_[group]] == 1) packed.marker_rows.push_back(row);
      }
    }
    GramAccumulator statistics(geometry_, row, packed.rope_theta);
    statistics.set_pictures(1);
    size_t part = 0;
    statistics.VisitNumbers([&](std::vector<double>& numbers) {
      if (part < pools.size()) FillGram(pools[part], row, numbers);
      ++part;
    });
    if (options_.weigh_rows) {
      for (const auto& kinds : pools) {
        std::vector<double> counts;
        for (const int32_t kind : canonical_)
          counts.insert(counts.end(), kinds[kind].attention.begin(), kinds[kind].attention.end());
        packed.weights.push_back(AttentionStatistics::WeightsOf(counts));
      }
    }
    return FitPacked(statistics, packed);
  }

  void FillGram(const std::vector<Pool>& pools, int32_t tokens, std::vector<double>& gram) const {
    int32_t first = 0;
    for (const int32_t kind : canonical_) {
      for (int32_t a = 0; a < RowsOf(kind); ++a) {
        for (int32_t b = 0; b <= a; ++b)
          gram[static_cast<int64_t>(first + a) * tokens + first + b] = pools[kind].residuals(a, b);
      }
      first += RowsOf(kind);
    }
  }

  // Of each kind its first piece; rows that some piece of the kind has not are left out.
  PackedProfile KindsOf(const PackedProfile& whole) const {
    PackedProfile kinds = whole;
    kinds.tokens = std::accumulate(options_.kind_rows.begin(), options_.kind_rows.end(), 0);
    kinds.groups.clear();
    kinds.marker_rows.clear();
    for (int32_t kind = 0; kind < static_cast<int32_t>(seen_.size()); ++kind) {
      for (int32_t i = 0; i < RowsOf(kind); ++i) {
        if (options_.kind_markers[kind] == 1) kinds.marker_rows.push_back(static_cast<int32_t>(kinds.groups.size()));
        kinds.groups.push_back(kind);
      }
    }
    const std::vector<int32_t> begins = whole.GroupBegins();
    for (PackedPart& part : kinds.parts) part = KindsOf(part, begins);
    return kinds;
  }

  PackedPart KindsOf(const PackedPart& whole, const std::vector<int32_t>& begins) const {
    std::vector<int64_t> ranks = {0}, basis = {0};
    for (size_t g = 0; g < whole.ranks.size(); ++g) {
      ranks.push_back(ranks.back() + whole.ranks[g]);
      basis.push_back(basis.back() + static_cast<int64_t>(whole.ranks[g]) * (begins[g + 1] - begins[g]));
    }
    PackedPart out;
    out.sensitivity = whole.sensitivity;
    const auto take = [](const auto& from, int64_t begin, int64_t count, auto& to) {
      if (!from.empty()) to.insert(to.end(), from.begin() + begin, from.begin() + begin + count);
    };
    for (int32_t kind = 0; kind < static_cast<int32_t>(seen_.size()); ++kind) {
      const auto first = std::find(canonical_.begin(), canonical_.end(), kind) - canonical_.begin();
      int32_t rank = whole.ranks[first];
      for (size_t g = 0; g < canonical_.size(); ++g) {
        if (canonical_[g] == kind) rank = std::min(rank, whole.ranks[g]);
      }
      out.ranks.push_back(rank);
      take(whole.weights, begins[first], RowsOf(kind), out.weights);
      take(whole.basis, basis[first], static_cast<int64_t>(rank) * RowsOf(kind), out.basis);
      take(whole.deviations, ranks[first], rank, out.deviations);
      take(whole.bits, ranks[first], rank, out.bits);
      take(whole.spectrum, begins[first], RowsOf(kind), out.spectrum);
    }
    return out;
  }

  const PieceFitOptions& options_;
  KvGeometry geometry_;
  std::vector<Occurrence> occurrences_;
  std::vector<int64_t> seen_;       // [kinds] pieces in pictures
  std::vector<int32_t> canonical_;  // kind of each piece
  int64_t canonical_bytes_ = 0;
  PieceTemplates templates_;
  PieceProfile profile_;
};

}  // namespace

PieceProfile FitPieces(std::span<const GridStatistics> grids, const PieceFitOptions& options) {
  return PieceFitter(grids, options).Fit();
}

}  // namespace kvcapsule
