// Statistics of an unfinished calibration on disk, so that it can go on where it stopped.
#pragma once
#include <map>
#include <string>

#include "fit/attention_statistics.h"
#include "fit/gram.h"

namespace kvcapsule {

// By tokens of a picture.
struct Statistics {
  std::map<int32_t, GramAccumulator> grams;
  std::map<int32_t, AttentionStatistics> attention;  // where anything has been observed
};

// Written beside and renamed. Throws Error(kConfigInvalid) when it cannot be.
void SaveStatistics(const std::string& path, const Statistics& statistics);

// Throws Error(kConfigInvalid) when there is no such file, it is damaged, or it belongs to another geometry.
Statistics LoadStatistics(const std::string& path, const KvGeometry& geometry, float rope_theta);

}  // namespace kvcapsule
