#include "engine_thread.h"

#include <malloc.h>

#include <new>
#include <utility>

namespace kvcapsule::addon {
namespace {

const char* CodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kModelInvalid: return "MODEL_INVALID";
    case ErrorCode::kProfileInvalid: return "PROFILE_INVALID";
    case ErrorCode::kConfigInvalid: return "CONFIG_INVALID";
    case ErrorCode::kDisposed: return "DRAINING";
    case ErrorCode::kPlanInvalid:
    case ErrorCode::kCapsuleInvalid:
    case ErrorCode::kEngineFailed: break;
  }
  return "ENGINE_FAILED";
}

// glibc keeps a thread's freed weights for later; nothing here needs them again.
void FreeEngine(std::unique_ptr<Engine>& engine) {
  engine.reset();
  malloc_trim(0);
}

}  // namespace

Napi::Value MakeError(Napi::Env env, const char* code, const std::string& message, bool type_error) {
  Napi::Object error =
      type_error ? Napi::TypeError::New(env, message).Value() : Napi::Error::New(env, message).Value();
  error.Set("code", code);
  return error;
}

std::shared_ptr<EngineThread> EngineThread::Start(Napi::Env env) {
  return std::shared_ptr<EngineThread>(new EngineThread(env));
}

EngineThread::EngineThread(Napi::Env env) : env_(env) {
  const Napi::String name = Napi::String::New(env, "kvcapsule engine");
  const napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr,
                                                             nullptr, this, Deliver, &to_event_loop_);
  if (status != napi_ok) throw Napi::Error::New(env, "cannot connect the engine's thread to the event loop");
  // An engine that nobody waits for does not keep the process alive.
  napi_unref_threadsafe_function(env, to_event_loop_);
  // Hooks run last in, first out: the thread is gone before the function above is.
  napi_add_env_cleanup_hook(env, OnEnvironmentExit, this);
  thread_ = std::thread([this] { Loop(); });
}

EngineThread::~EngineThread() {
  Join();
  if (environment_gone_) return;
  napi_remove_env_cleanup_hook(env_, OnEnvironmentExit, this);
  napi_release_threadsafe_function(to_event_loop_, napi_tsfn_release);
}

void EngineThread::OnEnvironmentExit(void* self) {
  auto* thread = static_cast<EngineThread*>(self);
  const std::shared_ptr<EngineThread> keep = std::exchange(thread->self_while_pending_, nullptr);
  thread->environment_gone_ = true;
  thread->Join();
}

void EngineThread::Join() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Napi::Promise EngineThread::Submit(Napi::Env env, Work work, Settle settle) {
  if (disposed_) {
    auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(MakeError(env, CodeName(ErrorCode::kDisposed), "the engine has been disposed"));
    return deferred.Promise();
  }
  return Enqueue(env, std::move(work), std::move(settle));
}

Napi::Promise EngineThread::Dispose(Napi::Env env) {
  disposed_ = true;
  return Enqueue(env, FreeEngine, [](Napi::Env env) { return env.Undefined(); });
}

Napi::Promise EngineThread::Enqueue(Napi::Env env, Work work, Settle settle) {
  auto job = std::unique_ptr<Job>(
      new Job{Napi::Promise::Deferred::New(env), std::move(work), std::move(settle), nullptr, {}});
  const Napi::Promise promise = job->deferred.Promise();
  if (pending_++ == 0) {
    self_while_pending_ = shared_from_this();
    napi_ref_threadsafe_function(env, to_event_loop_);
  }
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
  return promise;
}

void EngineThread::Loop() {
  // Lives and dies on this thread: loading and freeing a model block nobody else.
  std::unique_ptr<Engine> engine;
  for (;;) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) break;
    std::unique_ptr<Job> job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    RunJob(*job, engine);
    // Refused only while the environment goes down, when nobody is left to hear.
    Job* raw = job.release();
    if (napi_call_threadsafe_function(to_event_loop_, raw, napi_tsfn_nonblocking) != napi_ok) delete raw;
  }
  FreeEngine(engine);
}

void EngineThread::RunJob(Job& job, std::unique_ptr<Engine>& engine) {
  try {
    job.work(engine);
  } catch (const Error& error) {
    job.error_code = CodeName(error.code());
    job.error_message = error.what();
  } catch (const std::bad_alloc&) {
    job.error_code = CodeName(ErrorCode::kEngineFailed);
    job.error_message = "the engine is out of memory";
  } catch (const std::exception& error) {
    job.error_code = CodeName(ErrorCode::kEngineFailed);
    job.error_message = error.what();
  }
}

void EngineThread::Deliver(napi_env raw_env, napi_value, void* context, void* data) {
  const std::unique_ptr<Job> job(static_cast<Job*>(data));
  if (raw_env == nullptr) return;
  const Napi::Env env(raw_env);
  const Napi::HandleScope scope(env);
  auto* self = static_cast<EngineThread*>(context);
  if (job->error_code) {
    job->deferred.Reject(MakeError(env, job->error_code, job->error_message));
  } else {
    try {
      job->deferred.Resolve(job->settle(env));
    } catch (const Napi::Error& error) {
      job->deferred.Reject(error.Value());
    }
  }
  if (--self->pending_ == 0) {
    napi_unref_threadsafe_function(env, self->to_event_loop_);
    self->self_while_pending_.reset();  // may be the last reference
  }
}

}  // namespace kvcapsule::addon
