#include "backend/cpu_backend.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

// ggml's threads wait for each other after every node, spinning. Where another process wants a CPU as well, each
// such wait lasts a turn of the kernel's scheduler: the demo's decode step (7 million multiplications, 2 ms on
// one thread) takes 300 ms with two. A second thread saves at most half of what one thread needs for this many.
constexpr int64_t kOneThreadMultiplications = int64_t{1} << 26;

int64_t Multiplications(ggml_cgraph* graph) {
  int64_t sum = 0;
  for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) {
    const ggml_tensor* node = ggml_graph_node(graph, i);
    if (node->op == GGML_OP_MUL_MAT) sum += node->src[0]->ne[0] * ggml_nelements(node);
  }
  return sum;
}

}  // namespace

Graph::Graph(size_t max_nodes) {
  const size_t bytes = ggml_tensor_overhead() * max_nodes * 2 + ggml_graph_overhead_custom(max_nodes, false);
  context.reset(ggml_init({bytes, nullptr, /*no_alloc=*/true}));
  if (!context) throw Error(ErrorCode::kEngineFailed, "ggml cannot allocate a graph");
  nodes = ggml_new_graph_custom(context.get(), max_nodes, false);
}

CpuBackend::CpuBackend(int32_t threads) : max_threads_(threads) {
  backend_ = ggml_backend_cpu_init();
  if (!backend_) throw Error(ErrorCode::kEngineFailed, "ggml has no CPU backend");
  allocator_ = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend_));
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
  const bool small = Multiplications(graph.nodes) < kOneThreadMultiplications;
  ggml_backend_cpu_set_n_threads(backend_, small ? 1 : max_threads_);
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
