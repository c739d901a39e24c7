// The CPU backend of ggml with threads of its own that sleep between graphs.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

namespace kvcapsule {

struct GgmlContextFree {
  void operator()(ggml_context* context) const { ggml_free(context); }
};
using GgmlContext = std::unique_ptr<ggml_context, GgmlContextFree>;

struct GgmlBufferFree {
  void operator()(ggml_backend_buffer_t buffer) const { ggml_backend_buffer_free(buffer); }
};
using GgmlBuffer = std::unique_ptr<ggml_backend_buffer, GgmlBufferFree>;

// A graph under construction: tensors without data until Compute gives them places.
struct Graph {
  explicit Graph(size_t max_nodes);

  GgmlContext context;
  ggml_cgraph* nodes = nullptr;
};

// What a graph takes, about.
struct Work {
  int64_t macs = 0;
  int64_t weight_bytes = 0;  // read from memory
};

// One backend, one thread pool, one scratch allocator. Not thread-safe.
class CpuBackend {
 public:
  // threads >= 1. Without a persistent pool ggml starts threads on every graph and they spin.
  explicit CpuBackend(int32_t threads);
  ~CpuBackend();
  CpuBackend(const CpuBackend&) = delete;
  CpuBackend& operator=(const CpuBackend&) = delete;

  // Places the graph's tensors, calls fill_inputs (which may write input tensors), computes. Outputs stay
  // readable until the next Compute. Small graphs run on one thread, others on as many as find an idle CPU.
  // Throws Error(kEngineFailed).
  void Compute(const Graph& graph, Work work, const std::function<void()>& fill_inputs);
  // Runs task(0) .. task(count - 1), in any order, on as many threads as find an idle CPU; returns when all
  // have ended. Throws what a task throws, one of those where several do. Leaves the last Compute's outputs
  // alone.
  void Run(int32_t count, const std::function<void(int32_t)>& task);
  // Memory for all tensors of a context that have none yet.
  GgmlBuffer Allocate(ggml_context* context) const;

 private:
  // Throws Error(kEngineFailed).
  void ComputeOn(int64_t threads, ggml_cgraph* nodes);

  const int32_t max_threads_;
  ggml_backend_t backend_ = nullptr;
  ggml_threadpool_t threads_ = nullptr;
  ggml_gallocr_t allocator_ = nullptr;
};

// How many CPUs this process may run on.
int32_t UsableThreads();

}  // namespace kvcapsule
