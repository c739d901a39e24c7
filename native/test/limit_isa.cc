// Every test can be run as on a lesser processor: KVCAPSULE_MAX_CPU_ISA=sse4 native/build/test/attention_test.
#include "common/isa.h"

namespace kvcapsule {
namespace {

[[maybe_unused]] const bool limited = [] {
  LimitIsaByEnvironment();
  return true;
}();

}  // namespace
}  // namespace kvcapsule
