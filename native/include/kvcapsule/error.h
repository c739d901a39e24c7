// Typed errors of the engine. The addon turns them into rejections with the same code.
#pragma once
#include <stdexcept>
#include <string>

namespace kvcapsule {

enum class ErrorCode {
  kModelInvalid,    // MODEL_INVALID: the model folder is not usable
  kProfileInvalid,  // PROFILE_INVALID: the profile does not fit this model or is damaged
  kConfigInvalid,   // CONFIG_INVALID: an engine option is out of range
  kPlanInvalid,     // ENGINE_FAILED: a step plan breaks the engine's contract
  kCapsuleInvalid,  // ENGINE_FAILED: pages do not hold the capsule that they should
  kEngineFailed,    // ENGINE_FAILED: anything else that went wrong while computing
  kDisposed,        // DRAINING: the engine has been disposed
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace kvcapsule
