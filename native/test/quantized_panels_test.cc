// The stored form of quantized weights against plain loops; their products are among those of packed_matrix_test.
#include "backend/quantized_panels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kvcapsule/error.h"
#include "targets.h"

namespace kvcapsule {
namespace {

constexpr WeightType kTypes[] = {WeightType::kQ8_0, WeightType::kQ4_1};

float Half(float value) { return static_cast<float>(static_cast<_Float16>(value)); }

float HalfAt(const uint8_t* at) {
  _Float16 half;
  std::memcpy(&half, at, sizeof(half));
  return static_cast<float>(half);
}

// [count][inputs], each output with a spread and a place of its own.
std::vector<float> Weights(int32_t count, int64_t inputs, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> weights;
  for (int32_t output = 0; output < count; ++output) {
    const auto mean = static_cast<float>(output % 3), spread = static_cast<float>(1 + output);
    std::normal_distribution<float> draw(0.01f * mean, 0.003f * spread);
    for (int64_t i = 0; i < inputs; ++i) weights.push_back(draw(random));
  }
  return weights;
}

std::vector<uint8_t> Panel(WeightType type, int64_t inputs, const std::vector<float>& weights) {
  std::vector<uint8_t> panel(QuantizedPanelBytes(type, inputs));
  QuantizeOutputs(type, inputs, 0, static_cast<int32_t>(weights.size() / inputs), weights.data(), panel.data());
  return panel;
}

std::vector<float> Read(WeightType type, const std::vector<uint8_t>& panel, int64_t inputs, int32_t output) {
  std::vector<float> weights(inputs);
  ReadQuantizedOutput(type, panel.data(), inputs, output, weights.data());
  return weights;
}

double SquaredError(const float* weights, const float* stored, int64_t count) {
  double error = 0;
  for (int64_t i = 0; i < count; ++i) error += std::pow(double{weights[i]} - stored[i], 2);
  return error;
}

TEST(QuantizedPanelsTest, Q8IsTheNearestOf255MultiplesOfTheScale) {
  for (const int64_t inputs : {1, 7, 32, 33, 130, 576}) {
    const std::vector<float> weights = Weights(32, inputs, 3);
    const auto panel = Panel(WeightType::kQ8_0, inputs, weights);
    ASSERT_EQ(static_cast<int64_t>(panel.size()), (inputs + 31) / 32 * (64 + 32 * 32));
    for (int32_t output = 0; output < 32; ++output) {
      const std::vector<float> read = Read(WeightType::kQ8_0, panel, inputs, output);
      for (int64_t i = 0; i < inputs; ++i) {
        const int64_t begin = i / 32 * 32, end = std::min(begin + 32, inputs);
        const float* row = &weights[output * inputs];
        float most = 0;
        for (int64_t j = begin; j < end; ++j) most = std::max(most, std::fabs(row[j]));
        const float scale = Half(most / 127);
        const uint8_t* block = &panel[begin / 32 * (64 + 32 * 32)];
        ASSERT_EQ(HalfAt(block + 2 * output), scale);
        ASSERT_EQ(read[i], scale * static_cast<int8_t>(block[64 + (i - begin) * 32 + output]));
        // half a step, and what a code of 127 lacks where the scale was rounded down
        ASSERT_LE(std::fabs(read[i] - row[i]), scale * 0.5001f + 127 * scale / 2048);
      }
    }
  }
}

TEST(QuantizedPanelsTest, Q4IsOneOf16LevelsAndBetterThanFromLeastToMost) {
  double squared = 0, plain_squared = 0;
  for (const int64_t inputs : {1, 7, 32, 33, 130, 576}) {
    const std::vector<float> weights = Weights(32, inputs, 4);
    const auto panel = Panel(WeightType::kQ4_1, inputs, weights);
    ASSERT_EQ(static_cast<int64_t>(panel.size()), (inputs + 31) / 32 * (128 + 16 * 32));
    for (int32_t output = 0; output < 32; ++output) {
      const std::vector<float> read = Read(WeightType::kQ4_1, panel, inputs, output);
      for (int64_t begin = 0; begin < inputs; begin += 32) {
        const int64_t count = std::min<int64_t>(32, inputs - begin);
        const float* row = &weights[output * inputs + begin];
        const auto [low, high] = std::minmax_element(row, row + count);
        const float scale = Half((*high - *low) / 15), minimum = Half(*low);
        std::vector<float> plain;
        const uint8_t* block = &panel[begin / 32 * (128 + 16 * 32)];
        for (int64_t i = 0; i < count; ++i) {
          const float code = scale == 0 ? 0 : std::clamp(std::round((row[i] - minimum) / scale), 0.0f, 15.0f);
          plain.push_back(scale * code + minimum);
          const int pair = block[128 + i / 2 * 32 + output], stored = i % 2 == 0 ? pair % 16 : pair / 16;
          ASSERT_EQ(read[begin + i],
                    HalfAt(block + 2 * output) * static_cast<float>(stored) + HalfAt(block + 64 + 2 * output));
        }
        squared += SquaredError(row, &read[begin], count);
        plain_squared += SquaredError(row, plain.data(), count);
      }
    }
  }
  EXPECT_LT(squared, 0.85 * plain_squared);
}

TEST(QuantizedPanelsTest, IsTheSameOnEveryTarget) {
  for (const WeightType type : kTypes) {
    std::vector<float> weights = Weights(32, 130, 8);
    for (int64_t i = 0; i < 5 * 130; ++i) weights[i] *= 1e-4f;  // scales among the least half floats
    const auto panel = Panel(type, 130, weights);
    for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
      const testing::UseTarget use(target);
      ASSERT_EQ(Panel(type, 130, weights), panel) << hwy::TargetName(target);
    }
  }
}

TEST(QuantizedPanelsTest, OutputsAreSetOneByOneAsTogether) {
  for (const WeightType type : kTypes) {
    const int64_t inputs = 71;
    const std::vector<float> weights = Weights(32, inputs, 5);
    const auto together = Panel(type, inputs, weights);
    std::vector<uint8_t> one_by_one(together.size());
    for (int32_t i = 0; i < 32; ++i) {
      const int32_t output = i * 13 % 32;
      QuantizeOutputs(type, inputs, output, 1, &weights[output * inputs], one_by_one.data());
    }
    EXPECT_EQ(one_by_one, together);
  }
}

TEST(QuantizedPanelsTest, WhatIsNotSetIsZero) {
  for (const WeightType type : kTypes) {
    const std::vector<uint8_t> panel = Panel(type, 40, Weights(3, 40, 6));
    for (const int32_t output : {3, 31}) EXPECT_EQ(Read(type, panel, 40, output), std::vector<float>(40, 0.0f));
  }
}

TEST(QuantizedPanelsTest, WidenedWeightsAreThoseReadBackOnEveryTarget) {
  for (const WeightType type : kTypes) {
    for (const int64_t inputs : {1, 2, 31, 32, 33, 95, 576}) {
      std::vector<float> weights = Weights(32, inputs, 7);
      for (int64_t i = 0; i < 5 * inputs; ++i) weights[i] *= 1e-4f;  // scales among the least half floats
      const auto panel = Panel(type, inputs, weights);
      for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
        const testing::UseTarget use(target);
        std::vector<float> widened(inputs * 32, NAN);
        WidenPanel(type, panel.data(), inputs, widened.data());
        for (int32_t output = 0; output < 32; ++output) {
          const std::vector<float> read = Read(type, panel, inputs, output);
          for (int64_t i = 0; i < inputs; ++i)
            ASSERT_EQ(widened[i * 32 + output], read[i]) << i << " of " << inputs << " on " << hwy::TargetName(target);
        }
      }
    }
  }
}

TEST(QuantizedPanelsTest, KeepsWeightsThatAreAllAlikeOrTiny) {
  for (const WeightType type : kTypes) {
    for (const float weight : {0.0f, 0.375f, -0.375f, 1e-6f, -32768.0f}) {
      const std::vector<float> weights(32 * 32, weight);
      for (const float read : Read(type, Panel(type, 32, weights), 32, 5))
        EXPECT_NEAR(read, weight, std::fabs(weight) / 1000 + 1e-6f);
    }
  }
}

TEST(QuantizedPanelsTest, RefusesWhatHasNoScale) {
  for (const WeightType type : kTypes) {
    for (const float weight : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                               std::numeric_limits<float>::quiet_NaN(), 32769.0f}) {
      std::vector<float> weights(2 * 40, 0.5f);
      weights[77] = weight;
      EXPECT_THROW(Panel(type, 40, weights), Error) << weight;
    }
  }
}

}  // namespace
}  // namespace kvcapsule
