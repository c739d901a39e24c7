#include "kv/codec/registry.h"

#include <utility>

#include "kv/codec/capsule/capsule_format.h"
#include "kv/codec/packed/packed_format.h"
#include "kv/codec/packed/piece_profile.h"
#include "kv/codec/q4/q4_format.h"
#include "kv/codec/q8/q8_format.h"

namespace kvcapsule {
namespace {

std::vector<std::shared_ptr<const KvFormat>> OpenProfile(const KvGeometry& geometry, const std::string& path) {
  ProfileReader reader(path);
  const std::string version = reader.Text("version");
  if (version == kPackedVersion)
    return {std::make_shared<PackedFormat>(geometry, ReadPackedProfile(reader, geometry))};
  if (version == kPieceVersion) {
    const PieceProfile pieces = ReadPieceProfile(reader, geometry);
    std::vector<std::shared_ptr<const KvFormat>> formats;
    for (size_t layout = 0; layout < pieces.layouts.size(); ++layout)
      formats.push_back(std::make_shared<PackedFormat>(geometry, SpanProfile(pieces, layout)));
    return formats;
  }
  return {std::make_shared<CapsuleFormat>(geometry,
                                          std::make_shared<const CapsuleProfile>(ReadProfile(reader, geometry)))};
}

}  // namespace

std::vector<std::shared_ptr<const KvFormat>> OpenFormats(const KvGeometry& geometry,
                                                         const std::vector<std::string>& profiles,
                                                         std::vector<int32_t>* files) {
  std::vector<std::shared_ptr<const KvFormat>> formats = {std::make_shared<Q8Format>(geometry),
                                                          std::make_shared<Q4Format>(geometry)};
  if (files) files->assign(formats.size(), -1);
  for (size_t file = 0; file < profiles.size(); ++file) {
    for (auto& format : OpenProfile(geometry, profiles[file])) formats.push_back(std::move(format));
    if (files) files->resize(formats.size(), static_cast<int32_t>(file));
  }
  return formats;
}

}  // namespace kvcapsule
