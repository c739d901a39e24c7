// One engine and its own thread. Calls are queued, run in order off the event loop, and settle their
// promises back on it.
#pragma once
#include <napi.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "kvcapsule/engine.h"

namespace kvcapsule::addon {

// A rejection with the `code` of the error catalogue.
Napi::Value MakeError(Napi::Env env, const char* code, const std::string& message, bool type_error = false);

class EngineThread : public std::enable_shared_from_this<EngineThread> {
 public:
  // Runs on the engine's thread; throws what becomes the rejection.
  using Work = std::function<void(std::unique_ptr<Engine>& engine)>;
  // Runs on the event loop after the work has succeeded.
  using Settle = std::function<Napi::Value(Napi::Env env)>;

  static std::shared_ptr<EngineThread> Start(Napi::Env env);
  ~EngineThread();

  // Queues work. The promise keeps the engine and the process alive until it settles.
  Napi::Promise Submit(Napi::Env env, Work work, Settle settle);
  // Refuses new work, then frees the engine behind what is queued already. Idempotent.
  Napi::Promise Dispose(Napi::Env env);

 private:
  struct Job {
    Napi::Promise::Deferred deferred;
    Work work;
    Settle settle;
    const char* error_code = nullptr;  // null: succeeded
    std::string error_message;
  };

  explicit EngineThread(Napi::Env env);
  Napi::Promise Enqueue(Napi::Env env, Work work, Settle settle);
  void Loop();
  static void RunJob(Job& job, std::unique_ptr<Engine>& engine);
  static void Deliver(napi_env env, napi_value callback, void* context, void* data);
  static void OnEnvironmentExit(void* self);
  void Join();

  const napi_env env_;
  napi_threadsafe_function to_event_loop_ = nullptr;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> queue_;
  bool stopping_ = false;
  // Below: touched on the event loop only.
  bool disposed_ = false;
  bool environment_gone_ = false;
  int32_t pending_ = 0;
  std::shared_ptr<EngineThread> self_while_pending_;
  std::thread thread_;
};

}  // namespace kvcapsule::addon
