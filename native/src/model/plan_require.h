// How a check of a step plan says what does not hold.
#pragma once
#include <string>

#include "kvcapsule/error.h"

namespace kvcapsule {

inline void Require(bool holds, const std::string& problem) {
  if (!holds) throw Error(ErrorCode::kPlanInvalid, "step plan: " + problem);
}

inline std::string At(const char* array, size_t index) {
  return std::string(array) + "[" + std::to_string(index) + "] ";
}

}  // namespace kvcapsule
