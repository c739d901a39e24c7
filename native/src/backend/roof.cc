#include "backend/roof.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "backend/packed_matrix.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/roof.cc"
#include <hwy/foreach_target.h>  // compiles this file once for every instruction set
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvcapsule::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The result depends on every byte, so that no load can be left out.
float ReadAll(const float* data, int64_t floats) {
  const hn::ScalableTag<float> d;
  constexpr int kStreams = 8;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  hn::Vec<decltype(d)> sum[kStreams];
  for (auto& one : sum) one = hn::Zero(d);
  for (int64_t i = 0; i + kStreams * lanes <= floats; i += kStreams * lanes) {
#pragma GCC unroll 8
    for (int stream = 0; stream < kStreams; ++stream)
      sum[stream] = hn::Add(sum[stream], hn::Load(d, data + i + stream * lanes));
  }
  for (int stream = 1; stream < kStreams; ++stream) sum[0] = hn::Add(sum[0], sum[stream]);
  return hn::GetLane(hn::SumOfLanes(d, sum[0]));
}

// Operations done; ten independent chains hide the latency of two units of five cycles.
int64_t MultiplyAdd(int64_t rounds, float start, float* out) {
  const hn::ScalableTag<float> d;
  constexpr int kChains = 10;
  hn::Vec<decltype(d)> sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = hn::Set(d, start + static_cast<float>(i));
  const auto factor = hn::Set(d, 0.999f), term = hn::Set(d, start);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 10
    for (int i = 0; i < kChains; ++i) sum[i] = hn::MulAdd(sum[i], factor, term);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = hn::Add(sum[0], sum[i]);
  *out = hn::GetLane(hn::SumOfLanes(d, sum[0]));
  return rounds * kChains * static_cast<int64_t>(hn::Lanes(d)) * 2;
}

}  // namespace kvcapsule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(ReadAll);
HWY_EXPORT(MultiplyAdd);

namespace {

using Clock = std::chrono::steady_clock;

// Best of many short rounds in which all threads begin together: others on the machine can only slow a round
// down, and leave some rounds of a millisecond alone.
constexpr int kRounds = 64;

template <class Body>
double BestRate(int32_t threads, Body body) {
  std::vector<double> work(threads);
  double best = 0;
  auto begin = Clock::now();
  bool started = false;
  const auto between = [&]() noexcept {
    const auto now = Clock::now();
    double total = 0;
    for (const double one : work) total += one;
    if (started) best = std::max(best, total / std::chrono::duration<double>(now - begin).count());
    started = true;
    begin = Clock::now();
  };
  std::barrier barrier(threads, between);
  const auto run = [&](int32_t thread) {
    for (int round = 0; round < kRounds; ++round) {
      barrier.arrive_and_wait();
      work[thread] = body(thread, round);
    }
    barrier.arrive_and_wait();
  };
  std::vector<std::jthread> others;
  for (int32_t thread = 1; thread < threads; ++thread) others.emplace_back(run, thread);
  run(0);
  return best;
}

}  // namespace

Roof MeasureRoof(int32_t threads, int64_t bytes) {
  const LargeBuffer memory(bytes);
  std::memset(memory.data(), 0, bytes);
  constexpr int64_t kMostPerRound = 16 << 20;  // of all threads
  const int64_t pieces = std::clamp<int64_t>(bytes / kMostPerRound, 1, kRounds);
  const int64_t share = bytes / pieces / threads / 64 * 64;
  std::vector<float> sinks(threads);
  Roof roof;
  roof.read_bytes_per_second = BestRate(threads, [&](int32_t thread, int round) {
    const int64_t piece = round % pieces * threads + thread;
    const auto* data = reinterpret_cast<const float*>(memory.data() + piece * share);
    sinks[thread] += HWY_DYNAMIC_DISPATCH(ReadAll)(data, share / static_cast<int64_t>(sizeof(float)));
    return static_cast<double>(share);
  });
  roof.flops_per_second = BestRate(threads, [&](int32_t thread, int) {
    constexpr int64_t kTimes = 300'000;
    const int64_t operations = HWY_DYNAMIC_DISPATCH(MultiplyAdd)(kTimes, sinks[thread] + 1, &sinks[thread]);
    return static_cast<double>(operations);
  });
  return roof;
}

}  // namespace kvcapsule
#endif
