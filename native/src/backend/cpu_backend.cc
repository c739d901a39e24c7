#include "backend/cpu_backend.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "kvcapsule/error.h"

namespace kvcapsule {

Graph::Graph(size_t max_nodes) {
  const size_t bytes = ggml_tensor_overhead() * max_nodes * 2 + ggml_graph_overhead_custom(max_nodes, false);
  context.reset(ggml_init({bytes, nullptr, /*no_alloc=*/true}));
  if (!context) throw Error(ErrorCode::kEngineFailed, "ggml cannot allocate a graph");
  nodes = ggml_new_graph_custom(context.get(), max_nodes, false);
}

CpuBackend::CpuBackend(int32_t threads) {
  backend_ = ggml_backend_cpu_init();
  if (!backend_) throw Error(ErrorCode::kEngineFailed, "ggml has no CPU backend");
  allocator_ = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend_));
  ggml_backend_cpu_set_n_threads(backend_, threads);
  if (threads > 1) {
    ggml_threadpool_params params = ggml_threadpool_params_default(threads);
    params.poll = 0;
    threads_ = ggml_threadpool_new(&params);
    ggml_backend_cpu_set_threadpool(backend_, threads_);
  }
}

CpuBackend::~CpuBackend() {
  ggml_gallocr_free(allocator_);
  ggml_backend_free(backend_);
  if (threads_) ggml_threadpool_free(threads_);
}

void CpuBackend::Compute(const Graph& graph, const std::function<void()>& fill_inputs) {
  if (!ggml_gallocr_alloc_graph(allocator_, graph.nodes)) {
    throw Error(ErrorCode::kEngineFailed, "not enough memory for the step's activations");
  }
  fill_inputs();
  const ggml_status status = ggml_backend_graph_compute(backend_, graph.nodes);
  if (status != GGML_STATUS_SUCCESS) {
    throw Error(ErrorCode::kEngineFailed, std::string("ggml: ") + ggml_status_to_string(status));
  }
}

GgmlBuffer CpuBackend::Allocate(ggml_context* context) const {
  GgmlBuffer buffer(ggml_backend_alloc_ctx_tensors(context, backend_));
  if (!buffer) throw Error(ErrorCode::kEngineFailed, "not enough memory for the weights");
  return buffer;
}

int32_t UsableThreads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace kvcapsule
