// What files of packed profiles have in common, whatever their version.
#pragma once
#include <string>

#include "kv/codec/packed/packed_profile.h"

namespace kvcapsule {

// Name of a tensor of keys (part 0) or values (1) of one layer and KV head.
std::string PartTensor(int32_t layer, int32_t kv_head, int32_t part, const char* what);

// All tensors and texts but the version's; others are left over, and the profile has no id yet. Throws
// Error(kProfileInvalid) naming what does not fit.
PackedProfile ReadPackedTensors(ProfileReader& reader, const KvGeometry& geometry);
void AddPackedTensors(ProfileWriter& writer, const PackedProfile& profile, ProfileMetadata& texts);

}  // namespace kvcapsule
