// Packed matrices, none on tiles, against plain loops, and that a row's result is the same in any company.
#include "backend/packed_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "backend/quantized_panels.h"
#include "common/half.h"
#include "emulated_tiles.h"
#include "targets.h"

namespace kvcapsule {
namespace {

struct Case {
  int64_t outputs, inputs;
  WeightType type;
};

class PackedMatrixTest : public ::testing::TestWithParam<Case> {
 protected:
  PackedMatrixTest() : memory_(PackedMatrix::Bytes(GetParam().outputs, GetParam().inputs, GetParam().type)) {
    const auto [outputs, inputs, type] = GetParam();
    matrix_ = PackedMatrix(outputs, inputs, type, memory_.data());
    // a whole panel, one output, the rest of its panel, a whole one, two outputs and so on
    for (int64_t output = 0, turn = 0, count = 0; output < outputs; output += count, ++turn) {
      const int64_t panel = PackedMatrix::kPanel, wanted = turn % 3 == 1 ? 1 + turn / 3 : panel;
      count = std::min({wanted, panel - output % panel, outputs - output});
      std::vector<float> rows(count * inputs);
      for (float& value : rows) value = Draw();
      matrix_.SetOutputs(output, count, rows.data());
      for (int64_t i = 0; i < count; ++i) weights_.push_back(Rounded(&rows[i * inputs]));
    }
  }

  // As the type keeps them: a panel of its own, for those that are quantized.
  static std::vector<float> Rounded(const float* weights) {
    const auto [outputs, inputs, type] = GetParam();
    std::vector<float> rounded(inputs);
    std::vector<uint8_t> bytes(IsQuantized(type) ? QuantizedPanelBytes(type, inputs) : inputs * 4);
    if (IsQuantized(type)) {
      QuantizeOutputs(type, inputs, 3, 1, weights, bytes.data());
      ReadQuantizedOutput(type, bytes.data(), inputs, 3, rounded.data());
    } else {
      FromFloat(PlainDtype(type), weights, inputs, bytes.data());
      ToFloat(PlainDtype(type), bytes.data(), inputs, rounded.data());
    }
    return rounded;
  }

  float Draw() { return std::uniform_real_distribution<float>(-1, 1)(random_); }

  std::vector<float> Rows(int32_t rows) {
    std::vector<float> x(rows * GetParam().inputs);
    for (float& value : x) value = Draw();
    return x;
  }

  std::vector<float> Multiply(const InputRows& rows) const {
    const int64_t width = int64_t{matrix_.panels()} * PackedMatrix::kPanel;
    std::vector<float> y(rows.view().rows * width, NAN);
    matrix_.Multiply(rows, 0, matrix_.panels(), y.data(), width);
    return y;
  }

  std::vector<float> Multiply(const float* x, int32_t rows) const {
    InputRows in;
    in.Assign(matrix_, x, matrix_.inputs(), rows);
    return Multiply(in);
  }

  // An output's sum over the inputs in order, as the target multiplies and adds.
  float PlainSum(int64_t target, const float* x, int64_t output) const {
    const bool fuses = target & (HWY_AVX2 | HWY_AVX3 | HWY_AVX3_DL | HWY_NEON);
    float sum = 0;
    for (int64_t i = 0; i < matrix_.inputs(); ++i) {
      const volatile float product = x[i] * weights_[output][i];  // volatile: rounded
      sum = fuses ? std::fma(x[i], weights_[output][i], sum) : sum + product;
    }
    return sum;
  }

  const testing::UseTileProduct no_tiles_{nullptr};
  std::mt19937 random_{7};
  LargeBuffer memory_;
  PackedMatrix matrix_;
  std::vector<std::vector<float>> weights_;  // as they are after rounding
};

TEST_P(PackedMatrixTest, IsTheProduct) {
  const auto [outputs, inputs, type] = GetParam();
  for (const int32_t rows : {1, 2, 3, 5, 12, 13, 24, 40}) {
    const std::vector<float> x = Rows(rows), y = Multiply(x.data(), rows);
    const int64_t width = int64_t{matrix_.panels()} * PackedMatrix::kPanel;
    for (int32_t r = 0; r < rows; ++r) {
      for (int64_t output = 0; output < width; ++output) {
        double sum = 0, size = 0;
        for (int64_t i = 0; output < outputs && i < inputs; ++i) {
          const double term = double{x[r * inputs + i]} * weights_[output][i];
          sum += term;
          size += std::fabs(term);
        }
        ASSERT_LE(std::fabs(y[r * width + output] - sum), 1e-6 * size)
            << rows << " rows, " << r << ", " << output;
      }
    }
  }
}

TEST_P(PackedMatrixTest, IsThePlainLoopBitForBitOnEveryTarget) {
  const int64_t width = int64_t{matrix_.panels()} * PackedMatrix::kPanel, inputs = matrix_.inputs();
  const std::vector<float> x = Rows(40);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    const testing::UseTarget use(target);
    for (int32_t rows = 1; rows <= 40; ++rows) {
      const std::vector<float> copied = Multiply(x.data(), rows);
      InputRows in_place;
      in_place.Refer(x.data(), inputs, rows);
      ASSERT_EQ(Multiply(in_place), copied) << rows << " rows on " << hwy::TargetName(target);
      for (int64_t output = 0; output < static_cast<int64_t>(weights_.size()); ++output)
        ASSERT_EQ(copied[(rows - 1) * width + output], PlainSum(target, &x[(rows - 1) * inputs], output))
            << rows << " rows on " << hwy::TargetName(target) << ", " << output;
    }
  }
}

TEST_P(PackedMatrixTest, ARowsResultIsTheSameInAnyCompany) {
  const int64_t width = int64_t{matrix_.panels()} * PackedMatrix::kPanel;
  const std::vector<float> x = Rows(61), all = Multiply(x.data(), 61);
  for (int32_t first = 0, rows = 1; first < 61; first += rows, rows = std::min(rows + 1, 61 - first)) {
    const std::vector<float> some = Multiply(&x[first * GetParam().inputs], rows);
    for (int64_t i = 0; i < rows * width; ++i) ASSERT_EQ(some[i], all[first * width + i]) << rows << " rows";
  }
}

TEST_P(PackedMatrixTest, AnyRangeOfPanelsCanBeHadAlone) {
  const std::vector<float> x = Rows(3), all = Multiply(x.data(), 3);
  const int64_t width = int64_t{matrix_.panels()} * PackedMatrix::kPanel;
  for (int32_t panel = 0; panel < matrix_.panels(); ++panel) {
    float y[3 * PackedMatrix::kPanel];
    InputRows in;
    in.Assign(matrix_, x.data(), matrix_.inputs(), 3);
    matrix_.Multiply(in, panel, 1, y, PackedMatrix::kPanel);
    for (int32_t r = 0; r < 3; ++r) {
      for (int32_t i = 0; i < PackedMatrix::kPanel; ++i)
        ASSERT_EQ(y[r * PackedMatrix::kPanel + i], all[r * width + panel * PackedMatrix::kPanel + i]);
    }
  }
}

TEST_P(PackedMatrixTest, TheFirstOutputsCanBeHadAloneOnEveryTarget) {
  const std::vector<float> x = Rows(40);
  const int64_t width = int64_t{matrix_.panels()} * PackedMatrix::kPanel, inputs = matrix_.inputs();
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    const testing::UseTarget use(target);
    for (const int32_t rows : {1, 7, 40}) {
      const std::vector<float> all = Multiply(x.data(), rows);
      InputRows in;
      in.Assign(matrix_, x.data(), inputs, rows);
      for (int32_t outputs = 1; outputs <= GetParam().outputs; ++outputs) {
        std::vector<float> y(rows * width, NAN);
        matrix_.MultiplyFirst(in, outputs, y.data(), width);
        for (int32_t r = 0; r < rows; ++r) {
          for (int32_t i = 0; i < outputs; ++i)
            ASSERT_EQ(y[r * width + i], all[r * width + i]) << hwy::TargetName(target) << ", " << rows << " rows, " << i;
        }
      }
    }
  }
}

TEST_P(PackedMatrixTest, OutputsAreReadBackAsTheyWereRounded) {
  std::vector<float> row(GetParam().inputs);
  for (size_t output = 0; output < weights_.size(); ++output) {
    matrix_.ReadOutput(static_cast<int64_t>(output), row.data());
    ASSERT_EQ(row, weights_[output]);
  }
}

// more inputs than are taken at a time, and outputs that do not fill the last panel
INSTANTIATE_TEST_SUITE_P(Shapes, PackedMatrixTest,
                         ::testing::Values(Case{64, 256, WeightType::kF32}, Case{33, 7, WeightType::kF32},
                                           Case{96, 2500, WeightType::kF32}, Case{70, 130, WeightType::kF16},
                                           Case{32, 2050, WeightType::kF16}, Case{70, 130, WeightType::kBF16},
                                           Case{70, 131, WeightType::kQ8_0}, Case{33, 7, WeightType::kQ8_0},
                                           Case{96, 2500, WeightType::kQ8_0}, Case{70, 131, WeightType::kQ4_1},
                                           Case{33, 7, WeightType::kQ4_1}, Case{96, 2500, WeightType::kQ4_1}));

}  // namespace
}  // namespace kvcapsule
