#include "engine_thread.h"

#include <malloc.h>

#include <new>
#include <utility>

namespace kvcapsule::addon {
namespace {

// glibc keeps a thread's freed weights for later; nothing here needs them again.
void FreeEngine(Hosted& hosted) {
  hosted.calibration.reset();  // it takes its observer from the engine
  hosted.engine.reset();
  malloc_trim(0);
}

void RejectDisposed(Napi::Env env, Napi::Promise::Deferred& deferred) {
  deferred.Reject(MakeError(env, CodeName(ErrorCode::kDisposed), "the engine has been disposed"));
}

}  // namespace

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

Napi::Promise EngineThread::Submit(Napi::Env env, Work work, Settle settle, Kind kind) {
  auto deferred = Napi::Promise::Deferred::New(env);
  if (disposed_) {
    RejectDisposed(env, deferred);
  } else {
    Enqueue(env, MakeJob(deferred, std::move(work), std::move(settle), kind, nullptr));
  }
  return deferred.Promise();
}

void EngineThread::SubmitImage(Napi::Env env, Napi::Promise::Deferred deferred,
                               std::shared_ptr<ImageJob> image, Work work, Settle settle) {
  if (disposed_) return RejectDisposed(env, deferred);
  Enqueue(env, MakeJob(deferred, std::move(work), std::move(settle), Kind::kCall, std::move(image)));
}

Napi::Promise EngineThread::Dispose(Napi::Env env) {
  auto deferred = Napi::Promise::Deferred::New(env);
  disposed_ = true;
  const Settle nothing = [](Napi::Env env) { return env.Undefined(); };
  Enqueue(env, MakeJob(deferred, FreeEngine, nothing, Kind::kLast, nullptr));
  return deferred.Promise();
}

std::unique_ptr<EngineThread::Job> EngineThread::MakeJob(Napi::Promise::Deferred deferred, Work work,
                                                         Settle settle, Kind kind,
                                                         std::shared_ptr<ImageJob> image) {
  return std::unique_ptr<Job>(
      new Job{deferred, std::move(work), std::move(settle), kind, std::move(image), nullptr, {}});
}

void EngineThread::Enqueue(Napi::Env env, std::unique_ptr<Job> job) {
  if (pending_++ == 0) {
    self_while_pending_ = shared_from_this();
    napi_ref_threadsafe_function(env, to_event_loop_);
  }
  {
    const std::lock_guard lock(mutex_);
    (job->image ? new_images_ : queue_).push_back(std::move(job));
  }
  wake_.notify_one();
}

void EngineThread::Loop() {
  // Lives and dies on this thread: loading and freeing a model block nobody else.
  Hosted hosted;
  std::unique_ptr<Job> job;
  while (Next(job)) {
    if (!job) {
      RunSlice(hosted);
      continue;
    }
    RunTimed(*job, hosted);
    Settled(std::move(job));
  }
  FreeEngine(hosted);
}

bool EngineThread::Next(std::unique_ptr<Job>& job) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] {
    return stopping_ || !queue_.empty() || !new_images_.empty() || !images_.empty();
  });
  if (stopping_) return false;
  for (; !new_images_.empty(); new_images_.pop_front()) images_.push_back(std::move(new_images_.front()));
  job = nullptr;
  if (queue_.empty()) return true;
  const bool images_first = slice_due_ || queue_.front()->kind == Kind::kLast;
  if (images_first && !images_.empty()) return true;
  job = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

void EngineThread::RunTimed(Job& job, Hosted& hosted) {
  const Clock::time_point start = Clock::now();
  Guard(job, [&] { job.work(hosted); });
  if (job.kind != Kind::kStep && job.kind != Kind::kDecodeStep) return;
  last_step_ = Clock::now();
  slice_due_ = true;
  if (job.kind != Kind::kDecodeStep) return;
  const double seconds = std::chrono::duration<double>(last_step_ - start).count();
  decode_seconds_ = decode_seconds_ == 0 ? seconds : decode_seconds_ + (seconds - decode_seconds_) / 8;
}

int64_t EngineThread::SliceMacs() const {
  constexpr std::chrono::milliseconds kStreaming{100};  // since the last step
  // what a request that comes while nobody streams waits for at most
  constexpr double kIdleSeconds = 0.5;
  const bool streams = decode_seconds_ > 0 && Clock::now() - last_step_ <= kStreaming;
  return static_cast<int64_t>((streams ? decode_seconds_ : kIdleSeconds) * macs_per_second_);
}

void EngineThread::RunSlice(Hosted& hosted) {
  slice_due_ = false;
  std::vector<std::shared_ptr<ImageJob>> images;
  Job* first = images_.front().get();
  for (const auto& job : images_) {
    if (job->image->watch->cancelled) {
      job->error_code = "ABORTED";
      job->error_message = "the picture is not wanted any more";
      continue;
    }
    if (images.empty()) first = job.get();
    images.push_back(job->image);
  }
  const Clock::time_point start = Clock::now();
  // A slice that cannot be computed fails the first picture; the others are tried again without it. Without any
  // pictures the engine lets go of those that were cancelled.
  Guard(*first, [&] {
    const int64_t macs = hosted.engine->EncodeSlice(images, SliceMacs());
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (macs > 0 && seconds > 0)
      macs_per_second_ += (static_cast<double>(macs) / seconds - macs_per_second_) / 4;
  });
  for (auto& job : images_) {
    if (!job->error_code && !job->image->complete()) continue;
    if (!job->error_code) Guard(*job, [&] { job->work(hosted); });
    Settled(std::move(job));
  }
  std::erase(images_, nullptr);
}

void EngineThread::Settled(std::unique_ptr<Job> job) {
  // Refused only while the environment goes down, when nobody is left to hear.
  Job* raw = job.release();
  if (napi_call_threadsafe_function(to_event_loop_, raw, napi_tsfn_nonblocking) != napi_ok) delete raw;
}

void EngineThread::Guard(Job& job, const std::function<void()>& action) {
  try {
    action();
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
