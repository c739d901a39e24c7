// One engine and its own thread. Calls are queued, run in order off the event loop, and settle their
// promises back on it. Pictures are computed beside them, in slices.
#pragma once
#include <napi.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kvcapsule/calibration.h"
#include "kvcapsule/engine.h"

namespace kvcapsule::addon {

// The error catalogue's name for it.
const char* CodeName(ErrorCode code);
// A rejection with the `code` of the error catalogue.
Napi::Value MakeError(Napi::Env env, const char* code, const std::string& message, bool type_error = false);

// What lives on the engine's thread.
struct Hosted {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Calibration> calibration;  // from its first call on
};

class EngineThread : public std::enable_shared_from_this<EngineThread> {
 public:
  // Runs on the engine's thread; throws what becomes the rejection.
  using Work = std::function<void(Hosted& hosted)>;
  // Runs on the event loop after the work has succeeded.
  using Settle = std::function<Napi::Value(Napi::Env env)>;

  static std::shared_ptr<EngineThread> Start(Napi::Env env);
  ~EngineThread();

  enum class Kind {
    kCall,
    kStep,        // pictures wait for it, and it for one slice of them at most
    kDecodeStep,  // a step whose time is what streams wait between tokens: slices are made to last as long
    kLast,        // runs when nothing else is queued
  };

  // Queues work. The promise keeps the engine and the process alive until it settles.
  Napi::Promise Submit(Napi::Env env, Work work, Settle settle, Kind kind = Kind::kCall);
  // Computes a picture's features between the steps, then runs `work`. Settles `deferred`, which may come
  // from an earlier turn of the event loop.
  void SubmitImage(Napi::Env env, Napi::Promise::Deferred deferred, std::shared_ptr<ImageJob> image,
                   Work work, Settle settle);
  // Refuses new work, then frees the engine behind what is queued already. Idempotent.
  Napi::Promise Dispose(Napi::Env env);

 private:
  using Clock = std::chrono::steady_clock;
  struct Job {
    Napi::Promise::Deferred deferred;
    Work work;
    Settle settle;
    Kind kind = Kind::kCall;
    std::shared_ptr<ImageJob> image;   // null: not a picture
    const char* error_code = nullptr;  // null: succeeded
    std::string error_message;
  };

  explicit EngineThread(Napi::Env env);
  static std::unique_ptr<Job> MakeJob(Napi::Promise::Deferred deferred, Work work, Settle settle, Kind kind,
                                      std::shared_ptr<ImageJob> image);
  void Enqueue(Napi::Env env, std::unique_ptr<Job> job);
  void Loop();
  // Waits for work. False: the environment goes down. Sets `job`, or none when a slice of pictures is due.
  bool Next(std::unique_ptr<Job>& job);
  void RunTimed(Job& job, Hosted& hosted);
  void RunSlice(Hosted& hosted);
  int64_t SliceMacs() const;
  void Settled(std::unique_ptr<Job> job);
  static void Guard(Job& job, const std::function<void()>& action);
  static void Deliver(napi_env env, napi_value callback, void* context, void* data);
  static void OnEnvironmentExit(void* self);
  void Join();

  const napi_env env_;
  napi_threadsafe_function to_event_loop_ = nullptr;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::deque<std::unique_ptr<Job>> new_images_;
  bool stopping_ = false;
  // Below: touched on the engine's thread only.
  std::vector<std::unique_ptr<Job>> images_;  // pictures under way, in order of arrival
  bool slice_due_ = false;
  Clock::time_point last_step_{};
  double decode_seconds_ = 0;  // smoothed; 0: no decode step yet
  double macs_per_second_ = 5e9;
  // Below: touched on the event loop only.
  bool disposed_ = false;
  bool environment_gone_ = false;
  int32_t pending_ = 0;
  std::shared_ptr<EngineThread> self_while_pending_;
  std::thread thread_;
};

}  // namespace kvcapsule::addon
