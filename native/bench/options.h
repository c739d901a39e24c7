// What every benchmark takes: options as name=value, and a clock.
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <map>
#include <string>
#include <utility>

#include "kvcapsule/weight_type.h"

namespace kvcapsule::bench {

class Options {
 public:
  // All names with their defaults. clock=wall|cpu: cpu is the calling thread's own time, for one thread on a machine that
  // others use too.
  explicit Options(std::map<std::string, std::string> defaults) : values_(std::move(defaults)) {
    values_.emplace("clock", "wall");
  }

  // False, and a line on stderr, where an argument names none of them.
  bool Read(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      const size_t equals = argument.find('=');
      if (equals == std::string::npos || !values_.contains(argument.substr(0, equals))) {
        std::fprintf(stderr, "%s is not one of the options at the top of %s's source\n", argv[i], argv[0]);
        return false;
      }
      values_[argument.substr(0, equals)] = argument.substr(equals + 1);
    }
    return true;
  }

  void Set(const std::string& name, const std::string& value) { values_.at(name) = value; }
  const std::string& at(const std::string& name) const { return values_.at(name); }
  int32_t Int(const std::string& name) const { return std::stoi(at(name)); }
  double Real(const std::string& name) const { return std::stod(at(name)); }
  // Of the option dtype.
  WeightType Weights() const {
    static const std::map<std::string, WeightType> types = {{"f32", WeightType::kF32},
                                                            {"f16", WeightType::kF16},
                                                            {"bf16", WeightType::kBF16},
                                                            {"q8_0", WeightType::kQ8_0},
                                                            {"q4_1", WeightType::kQ4_1}};
    return types.at(at("dtype"));
  }
  // As they would be given.
  void Print() const {
    for (const auto& [name, value] : values_) std::printf("%s=%s ", name.c_str(), value.c_str());
  }

  // Of the option's clock, in seconds.
  double Now() const {
    if (at("clock") == "wall")
      return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  }

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace kvcapsule::bench
