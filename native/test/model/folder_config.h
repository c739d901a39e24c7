// What the settings of a test's folder say: no checks, and transformers' defaults where a fixture needs them.
#pragma once
#include <string>

#include "kvcapsule/model_config.h"

namespace kvcapsule::testing {

ModelConfig ReadFolderConfig(const std::string& model_dir);

}  // namespace kvcapsule::testing
