// Statistics of an unfinished calibration on disk, so that it can go on where it stopped.
#pragma once
#include <string>

#include "fit/attention_statistics.h"
#include "fit/gram.h"

namespace kvcapsule {

// Written beside and renamed. Throws Error(kConfigInvalid) when it cannot be.
void SaveStatistics(const std::string& path, const GramAccumulator& gram,
                    const AttentionStatistics& attention);

// Tokens a picture of the file, for which the two are to be made. Both throw Error(kConfigInvalid) when there
// is no such file, it is damaged, or it belongs to another geometry.
int32_t StatisticsTokens(const std::string& path, const KvGeometry& geometry);
void LoadStatistics(const std::string& path, GramAccumulator& gram, AttentionStatistics& attention);

}  // namespace kvcapsule
