#include "image_cut.h"

#include <utility>

#include "engine_thread.h"

namespace kvcapsule::addon {
namespace {

class CutWorker final : public Napi::AsyncWorker {
 public:
  CutWorker(Napi::Env env, ImageCutter cutter, const Napi::Uint8Array& rgb, int32_t width, int32_t height,
            AfterCut next)
      : AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        cutter_(std::move(cutter)),
        pin_(Napi::Persistent(rgb)),
        pixels_(rgb.Data()),
        width_(width),
        height_(height),
        next_(std::move(next)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { image_ = cutter_(pixels_, width_, height_); }
  void OnOK() override { next_(Env(), deferred_, std::move(image_)); }
  void OnError(const Napi::Error& error) override {
    deferred_.Reject(MakeError(Env(), "ENGINE_FAILED", error.Message()));
  }

 private:
  Napi::Promise::Deferred deferred_;
  ImageCutter cutter_;
  Napi::Reference<Napi::Uint8Array> pin_;
  const uint8_t* pixels_;
  int32_t width_, height_;
  AfterCut next_;
  std::shared_ptr<ImageJob> image_;
};

}  // namespace

Napi::Promise CutImage(Napi::Env env, ImageCutter cutter, const Napi::Uint8Array& rgb, int32_t width,
                       int32_t height, AfterCut next) {
  auto* worker = new CutWorker(env, std::move(cutter), rgb, width, height, std::move(next));
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace kvcapsule::addon
