// What a sequence is made of.
#pragma once
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

namespace kvcapsule {

class KvFormat;

// Raw rows in whole blocks; only the last block of the segment may be partly filled.
struct RawSegment {
  std::vector<int32_t> blocks;
  int32_t tokens = 0;
};

// Rows in one of the engine's formats, laid over pages: runs of 8 consecutive ones, then a shorter tail.
struct CapsuleSegment {
  std::shared_ptr<const KvFormat> format;
  std::vector<int32_t> pages;
  int32_t tokens = 0;    // rows covered
  int32_t position = 0;  // of the span's first token in its sequence; what keys were rotated by
};

using Segment = std::variant<RawSegment, CapsuleSegment>;

struct Sequence {
  std::vector<Segment> segments;
};

// Tokens in the segments before that one.
inline int32_t TokensBefore(const Sequence& sequence, int32_t segment) {
  int32_t tokens = 0;
  for (int32_t i = 0; i < segment; ++i)
    tokens += std::visit([](const auto& each) { return each.tokens; }, sequence.segments[i]);
  return tokens;
}

}  // namespace kvcapsule
