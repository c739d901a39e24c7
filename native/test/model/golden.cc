#include "golden.h"

#include <png.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace kvcapsule::testing {

std::string DemoModelDir() {
  const char* chosen = std::getenv("KVCAPSULE_TEST_MODEL");
  return chosen ? chosen : KVCAPSULE_DEMO_MODEL;
}

std::vector<GoldenCase> ReadGolden(const std::string& model_dir) {
  std::ifstream file(model_dir + "/golden.json");
  if (!file) throw std::runtime_error(model_dir + "/golden.json cannot be read");
  const auto golden = nlohmann::json::parse(file);
  std::vector<GoldenCase> cases;
  for (const auto& entry : golden.at("cases")) {
    GoldenCase one;
    entry.at("name").get_to(one.name);
    entry.at("pictures").get_to(one.pictures);
    entry.at("input_ids").get_to(one.input_ids);
    entry.at("answer_ids").get_to(one.answer_ids);
    entry.at("logits_at_prompt_end").get_to(one.logits_at_prompt_end);
    if (entry.contains("pixel_values")) {
      for (const auto& s : entry["pixel_values"].at("samples"))
        one.pixels.push_back({s[1], s[2], s[3], s[4], s[5]});
      entry["image_features"].at("first").get_to(one.first_features);
    }
    cases.push_back(std::move(one));
  }
  return cases;
}

RgbImage ReadPng(const std::string& path) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_file(&png, path.c_str()))
    throw std::runtime_error(path + ": " + png.message);
  png.format = PNG_FORMAT_RGB;
  RgbImage image{static_cast<int32_t>(png.width), static_cast<int32_t>(png.height), {}};
  image.pixels.resize(PNG_IMAGE_SIZE(png));
  if (!png_image_finish_read(&png, nullptr, image.pixels.data(), 0, nullptr))
    throw std::runtime_error(path + ": " + png.message);
  return image;
}

}  // namespace kvcapsule::testing
