#include "kv/codec/registry.h"

#include "kv/codec/capsule/capsule_format.h"
#include "kv/codec/packed/packed_format.h"
#include "kv/codec/q4/q4_format.h"
#include "kv/codec/q8/q8_format.h"

namespace kvcapsule {
namespace {

std::shared_ptr<const KvFormat> OpenProfile(const KvGeometry& geometry, const std::string& path) {
  ProfileReader reader(path);
  if (reader.Text("version") == kPackedVersion)
    return std::make_shared<PackedFormat>(geometry, ReadPackedProfile(reader, geometry));
  return std::make_shared<CapsuleFormat>(
      geometry, std::make_shared<const CapsuleProfile>(ReadProfile(reader, geometry)));
}

}  // namespace

std::vector<std::shared_ptr<const KvFormat>> OpenFormats(const KvGeometry& geometry,
                                                         const std::vector<std::string>& profiles) {
  std::vector<std::shared_ptr<const KvFormat>> formats = {std::make_shared<Q8Format>(geometry),
                                                          std::make_shared<Q4Format>(geometry)};
  for (const std::string& path : profiles) {
    formats.push_back(OpenProfile(geometry, path));
  }
  return formats;
}

}  // namespace kvcapsule
