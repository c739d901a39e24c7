// Every format that an engine serves.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kv/codec/format.h"

namespace kvcapsule {

// q8 and q4, then one format for each profile file, in their order. Throws Error(kProfileInvalid).
std::vector<std::shared_ptr<const KvFormat>> OpenFormats(const KvGeometry& geometry,
                                                         const std::vector<std::string>& profiles);

}  // namespace kvcapsule
