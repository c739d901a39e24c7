// Reference cases of a model folder: prompts with pictures, and what transformers answered.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "model/pillow_resize.h"

namespace kvcapsule::testing {

struct GoldenCase {
  struct PixelSample {
    int32_t tile, channel, y, x;
    float value;
  };
  std::string name;
  std::vector<std::string> pictures;  // paths inside the model folder
  std::vector<int32_t> input_ids;
  std::vector<int32_t> answer_ids;  // greedy, the end token included where it was reached
  std::vector<float> logits_at_prompt_end;
  std::vector<PixelSample> pixels;
  std::vector<float> first_features;
};

// The demo model, or KVCAPSULE_TEST_MODEL.
std::string DemoModelDir();
std::vector<GoldenCase> ReadGolden(const std::string& model_dir);
RgbImage ReadPng(const std::string& path);

}  // namespace kvcapsule::testing
