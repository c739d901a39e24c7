// The part of a picture's way that needs no engine: resizing and cutting it on a thread of libuv.
#pragma once
#include <napi.h>

#include <functional>
#include <memory>

#include "kvcapsule/engine.h"

namespace kvcapsule::addon {

using AfterCut = std::function<void(Napi::Env, Napi::Promise::Deferred, std::shared_ptr<ImageJob>)>;

// Pins `rgb` ([height][width][3]; nobody may write to it or transfer it) until the picture is cut, then hands
// the job and the promise's other end to `next` on the event loop. What the cutter throws becomes the
// rejection.
Napi::Promise CutImage(Napi::Env env, ImageCutter cutter, const Napi::Uint8Array& rgb, int32_t width,
                       int32_t height, AfterCut next);

}  // namespace kvcapsule::addon
