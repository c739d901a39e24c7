// Every format that an engine serves.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kv/codec/format.h"

namespace kvcapsule {

// q8 and q4, then those of each profile file, in their order: one, or of version 3 one for each layout. `files`, where
// given, takes the place of each format's file, -1 without one. Throws Error(kProfileInvalid).
std::vector<std::shared_ptr<const KvFormat>> OpenFormats(const KvGeometry& geometry,
                                                         const std::vector<std::string>& profiles,
                                                         std::vector<int32_t>* files = nullptr);

}  // namespace kvcapsule
