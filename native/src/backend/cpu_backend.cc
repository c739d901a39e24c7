#include "backend/cpu_backend.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <fstream>
#include <mutex>
#include <thread>

#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

// CPUs that no other thread of the machine wants at this moment, the caller's own included; all of them where
// the kernel does not tell. On two CPUs beside two busy processes a second thread made a picture fifteen
// times slower (463 against 31 ms). One other thread is forgiven: most often it is the event loop that has
// just handed this step over and will sleep, and beside one that stays busy a second thread costs only a
// tenth.
int32_t IdleCpus() {
  const auto online = static_cast<int32_t>(sysconf(_SC_NPROCESSORS_ONLN));
  std::ifstream load("/proc/loadavg");
  double minute = 0, five_minutes = 0, quarter = 0;
  int32_t runnable = 0;
  if (!(load >> minute >> five_minutes >> quarter >> runnable)) return online;
  constexpr int32_t kForgiven = 1;
  return online - std::max(0, runnable - 1 - kForgiven);
}

struct TaskList {
  const int32_t count;
  const std::function<void(int32_t)>& task;
  std::atomic<int32_t> next = 0;
  std::mutex mutex = {};
  std::exception_ptr failure = {};
};

// Exceptions must not pass through ggml.
void TakeTasks(ggml_tensor* /*out*/, int /*ith*/, int /*nth*/, void* user) {
  auto& list = *static_cast<TaskList*>(user);
  try {
    for (int32_t i = list.next++; i < list.count; i = list.next++) list.task(i);
  } catch (...) {
    const std::lock_guard lock(list.mutex);
    list.failure = std::current_exception();
  }
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

void CpuBackend::Compute(const Graph& graph, Work work, const std::function<void()>& fill_inputs) {
  if (!ggml_gallocr_alloc_graph(allocator_, graph.nodes)) {
    throw Error(ErrorCode::kEngineFailed, "not enough memory for the step's activations");
  }
  fill_inputs();
  // Weights pass at about 20 GB/s a thread, and a thread does about 50 G multiplications a second with them.
  // Below a tenth of a millisecond waiting at the barriers eats what a second thread brings.
  const int64_t nanoseconds = work.weight_bytes / 20 + work.macs / 50;
  constexpr int64_t kNanosecondsPerThread = 100'000;
  const int64_t threads = std::clamp<int64_t>(nanoseconds / kNanosecondsPerThread, 1, max_threads_);
  ComputeOn(threads, graph.nodes);
}

void CpuBackend::Run(int32_t count, const std::function<void(int32_t)>& task) {
  TaskList list{count, task};
  Graph graph(1);
  ggml_tensor* node = ggml_custom_4d(graph.context.get(), GGML_TYPE_F32, 1, 1, 1, 1, nullptr, 0, TakeTasks,
                                     GGML_N_TASKS_MAX, &list);
  ggml_build_forward_expand(graph.nodes, node);
  ComputeOn(std::clamp(count, 1, max_threads_), graph.nodes);
  if (list.failure) std::rethrow_exception(list.failure);
}

void CpuBackend::ComputeOn(int64_t threads, ggml_cgraph* nodes) {
  const int64_t idle = threads > 1 ? std::max(1, IdleCpus()) : 1;
  ggml_backend_cpu_set_n_threads(backend_, static_cast<int>(std::min(threads, idle)));
  const ggml_status status = ggml_backend_graph_compute(backend_, nodes);
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
