// The N-API skin: libs/engine/src/native.ts is its surface.
#include <napi.h>

#include <cstring>
#include <functional>
#include <memory>

#include "arguments.h"
#include "backend/arithmetic.h"
#include "backend/roof.h"
#include "common/isa.h"
#include "engine_thread.h"
#include "ggml.h"
#include "image_cut.h"

namespace kvcapsule::addon {
namespace {

using ThreadPtr = std::shared_ptr<EngineThread>;
using Method = std::function<Napi::Promise(const Napi::CallbackInfo&)>;

constexpr int64_t kMaxEdge = 1 << 15;  // 32768 x 32768 x 3 bytes still index in 64 bits and in Node's arrays

template <class ArrayType, class Element>
ArrayType ToArray(Napi::Env env, const std::vector<Element>& values) {
  ArrayType array = ArrayType::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(Element));
  return array;
}

Napi::Object FormatObject(Napi::Env env, const ModelInfo::Format& format) {
  Napi::Object entry = Napi::Object::New(env);
  entry.Set("codec", format.codec);
  entry.Set("profileId", format.profile_id);
  entry.Set("tokens", format.tokens);
  entry.Set("markerRows", ToArray<Napi::Int32Array>(env, format.marker_rows));
  entry.Set("pages", format.pages);
  entry.Set("bytes", static_cast<double>(format.bytes));
  entry.Set("bytesPerToken", static_cast<double>(format.bytes_per_token));
  entry.Set("headerBytes", static_cast<double>(format.header_bytes));
  entry.Set("profileFile", format.profile_file);
  entry.Set("macsShare", format.macs_share);
  return entry;
}

Napi::Object InfoObject(Napi::Env env, const ModelInfo& info) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("vocab", info.vocab);
  object.Set("contextTokens", info.context_tokens);
  object.Set("imageTokenId", info.image_token_id);
  object.Set("tokensPerTile", info.tokens_per_tile);
  object.Set("featureBytes", static_cast<double>(info.feature_bytes));
  object.Set("layers", info.kv.layers);
  object.Set("heads", info.heads);
  object.Set("kvHeads", info.kv.kv_heads);
  object.Set("headDim", info.kv.head_dim);
  object.Set("blockTokens", +KvGeometry::kBlockTokens);
  object.Set("pagesPerBlock", +KvGeometry::kPagesPerBlock);
  object.Set("blockBytes", static_cast<double>(info.kv.BlockBytes()));
  object.Set("pageBytes", static_cast<double>(info.kv.PageBytes()));
  object.Set("weightBytes", static_cast<double>(info.weight_bytes));
  Napi::Array formats = Napi::Array::New(env);
  for (const ModelInfo::Format& format : info.formats) formats.Set(formats.Length(), FormatObject(env, format));
  object.Set("formats", formats);
  return object;
}

Napi::Value ResultObject(Napi::Env env, const StepResult& result, const OwnedPlan& plan) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("tokens", ToArray<Napi::Int32Array>(env, result.tokens));
  object.Set("logprobs", ToArray<Napi::Float32Array>(env, result.logprobs));
  object.Set("topTokens", ToArray<Napi::Int32Array>(env, result.top_tokens));
  object.Set("topLogprobs", ToArray<Napi::Float32Array>(env, result.top_logprobs));
  if (plan.return_logits) object.Set("logits", ToArray<Napi::Float32Array>(env, result.logits));
  if (plan.return_queries) object.Set("queries", ToArray<Napi::Float32Array>(env, result.queries));
  object.Set("compressSeconds", result.compress_seconds);
  object.Set("forwardSeconds", result.forward_seconds);
  return object;
}

Napi::Value ImageObject(Napi::Env env, const EncodedImage& image) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("handle", image.handle);
  object.Set("tokens", image.tokens);
  object.Set("rows", image.rows);
  object.Set("cols", image.cols);
  return object;
}

// Arguments that do not fit become a rejection with the given code, not an exception.
Napi::Value Guard(const Napi::CallbackInfo& info, const char* code, const Method& method) {
  try {
    return method(info);
  } catch (const Napi::Error& error) {
    auto deferred = Napi::Promise::Deferred::New(info.Env());
    deferred.Reject(MakeError(info.Env(), code, error.Message(), /*type_error=*/true));
    return deferred.Promise();
  }
}

void AddMethod(Napi::Object& object, const char* name, Method method) {
  object.Set(
      name,
      Napi::Function::New(
          object.Env(),
          [method](const Napi::CallbackInfo& info) { return Guard(info, "ENGINE_FAILED", method); }, name));
}

Napi::Value Nothing(Napi::Env env) { return env.Undefined(); }

using WatchPtr = std::shared_ptr<ImageWatch>;

// share(), cancel(), and the watch itself for EncodeImage.
Napi::Value WatchObject(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto watch = std::make_shared<ImageWatch>();
  Napi::Object object = Napi::Object::New(env);
  object.Set("share", Napi::Function::New(env, [watch](const Napi::CallbackInfo& call) {
               return Napi::Number::New(call.Env(), watch->share);
             }));
  object.Set("cancel", Napi::Function::New(env, [watch](const Napi::CallbackInfo&) { watch->cancelled = true; }));
  object.Set("watch", Napi::External<WatchPtr>::New(env, new WatchPtr(watch),
                                                    [](Napi::Env, const WatchPtr* held) { delete held; }));
  return object;
}

// A watch of its own where none is given.
WatchPtr ReadWatch(const Napi::Value& value) {
  if (value.IsUndefined()) return std::make_shared<ImageWatch>();
  const Napi::Value watch = value.IsObject() ? value.As<Napi::Object>().Get("watch") : value;
  if (!watch.IsExternal()) throw Napi::TypeError::New(value.Env(), "watch must come from watchImage");
  return *watch.As<Napi::External<WatchPtr>>().Data();
}

Napi::Promise EncodeImage(const ThreadPtr& thread, const ImageCutter& cutter,
                          const Napi::CallbackInfo& info) {
  const WatchPtr watch = ReadWatch(info[3]);
  const int64_t width = ReadInteger(info[1], "width", 1, kMaxEdge),
                height = ReadInteger(info[2], "height", 1, kMaxEdge);
  const auto submit = [thread, watch](Napi::Env env, Napi::Promise::Deferred deferred,
                                      std::shared_ptr<ImageJob> image) {
    image->watch = watch;
    auto kept = std::make_shared<EncodedImage>();
    // the thread holds the job's image, so the job's work need not
    ImageJob* job = image.get();
    thread->SubmitImage(
        env, deferred, std::move(image),
        [=](Hosted& hosted) { *kept = hosted.engine->KeepImage(*job); },
        [=](Napi::Env env) { return ImageObject(env, *kept); });
  };
  return CutImage(info.Env(), cutter, ReadPixels(info[0], width, height), static_cast<int32_t>(width),
                  static_cast<int32_t>(height), submit);
}

Napi::Promise ReleaseImage(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  const auto handle = static_cast<int32_t>(ReadInteger(info[0], "handle", 0, INT32_MAX));
  return thread->Submit(info.Env(), [=](Hosted& hosted) { hosted.engine->ReleaseImage(handle); }, Nothing);
}

Napi::Promise Step(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  auto plan = std::make_shared<OwnedPlan>(ReadPlan(info[0]));
  auto result = std::make_shared<StepResult>();
  const bool decodes = !plan->tokens.empty() && plan->tokens.size() == plan->samples.size();
  return thread->Submit(
      info.Env(), [=](Hosted& hosted) { *result = hosted.engine->Step(plan->View()); },
      [=](Napi::Env env) { return ResultObject(env, *result, *plan); },
      decodes ? EngineThread::Kind::kDecodeStep : EngineThread::Kind::kStep);
}

Napi::Promise ReadPages(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  auto pages = std::make_shared<std::vector<int32_t>>(ReadInt32Array(info[0], "pages"));
  auto bytes = std::make_shared<std::vector<uint8_t>>();
  return thread->Submit(
      info.Env(), [=](Hosted& hosted) { *bytes = hosted.engine->ReadPages(*pages); },
      [=](Napi::Env env) { return ToArray<Napi::Uint8Array>(env, *bytes); });
}

Napi::Promise WritePages(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  auto pages = std::make_shared<std::vector<int32_t>>(ReadInt32Array(info[0], "pages"));
  auto bytes = std::make_shared<std::vector<uint8_t>>(ReadBytes(info[1], "bytes"));
  return thread->Submit(info.Env(), [=](Hosted& hosted) { hosted.engine->WritePages(*pages, *bytes); }, Nothing);
}

Napi::Promise ReadRows(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  const auto slot = static_cast<int32_t>(ReadInteger(info[0], "slot", 0, INT32_MAX));
  const auto segment = static_cast<int32_t>(ReadInteger(info[1], "segment", 0, INT32_MAX));
  auto rows = std::make_shared<std::vector<float>>();
  return thread->Submit(
      info.Env(), [=](Hosted& hosted) { *rows = hosted.engine->ReadRows(slot, segment); },
      [=](Napi::Env env) { return ToArray<Napi::Float32Array>(env, *rows); });
}

Calibration& CalibrationOf(Hosted& hosted) {
  if (!hosted.calibration) hosted.calibration = Calibration::Create(*hosted.engine);
  return *hosted.calibration;
}

Napi::Promise AddToGram(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  const auto slot = static_cast<int32_t>(ReadInteger(info[0], "slot", 0, INT32_MAX));
  const auto segment = static_cast<int32_t>(ReadInteger(info[1], "segment", 0, INT32_MAX));
  auto covered = std::make_shared<std::vector<int32_t>>(ReadInt32Array(info[2], "covered"));
  return thread->Submit(
      info.Env(), [=](Hosted& hosted) { CalibrationOf(hosted).AddToGram(slot, segment, *covered); }, Nothing);
}

Napi::Promise Fit(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  auto request = std::make_shared<FitRequest>(ReadFitRequest(info[0]));
  return thread->Submit(info.Env(), [=](Hosted& hosted) { CalibrationOf(hosted).Fit(*request); }, Nothing);
}

Napi::Promise FitPacked(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  auto request = std::make_shared<PackedFitRequest>(ReadPackedFitRequest(info[0]));
  return thread->Submit(info.Env(), [=](Hosted& hosted) { CalibrationOf(hosted).FitPacked(*request); }, Nothing);
}

Napi::Promise FitPieces(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  auto request = std::make_shared<PieceFitRequest>(ReadPieceFitRequest(info[0]));
  return thread->Submit(info.Env(), [=](Hosted& hosted) { CalibrationOf(hosted).FitPieces(*request); }, Nothing);
}

Napi::Promise Perturb(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  const PerturbRequest request = ReadPerturbRequest(info[0]);
  auto squares = std::make_shared<double>();
  return thread->Submit(
      info.Env(), [=](Hosted& hosted) { *squares = CalibrationOf(hosted).Perturb(request); },
      [=](Napi::Env env) { return Napi::Number::New(env, *squares); });
}

Napi::Promise SaveStatistics(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  const std::string path = ReadString(info[0], "path");
  return thread->Submit(info.Env(), [=](Hosted& hosted) { CalibrationOf(hosted).SaveStatistics(path); }, Nothing);
}

Napi::Promise LoadStatistics(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  const std::string path = ReadString(info[0], "path");
  auto grids = std::make_shared<std::vector<int32_t>>();
  return thread->Submit(
      info.Env(), [=](Hosted& hosted) { *grids = CalibrationOf(hosted).LoadStatistics(path); },
      [=](Napi::Env env) { return ToArray<Napi::Int32Array>(env, *grids); });
}

Napi::Promise Observe(const ThreadPtr& thread, const Napi::CallbackInfo& info) {
  auto slots = std::make_shared<std::vector<int32_t>>(ReadInt32Array(info[0], "slots"));
  const auto segment = static_cast<int32_t>(ReadInteger(info[1], "segment", 0, INT32_MAX));
  return thread->Submit(info.Env(), [=](Hosted& hosted) { CalibrationOf(hosted).Observe(*slots, segment); }, Nothing);
}

using Bound = Napi::Promise (*)(const ThreadPtr&, const Napi::CallbackInfo&);

void Bind(Napi::Object& object, const ThreadPtr& thread, const char* name, Bound method) {
  AddMethod(object, name, [thread, method](const Napi::CallbackInfo& call) { return method(thread, call); });
}

Napi::Object CalibrationObject(Napi::Env env, const ThreadPtr& thread) {
  Napi::Object object = Napi::Object::New(env);
  Bind(object, thread, "addToGram", AddToGram);
  Bind(object, thread, "observe", Observe);
  Bind(object, thread, "perturb", Perturb);
  Bind(object, thread, "fit", Fit);
  Bind(object, thread, "fitPacked", FitPacked);
  Bind(object, thread, "fitPieces", FitPieces);
  Bind(object, thread, "saveStatistics", SaveStatistics);
  Bind(object, thread, "loadStatistics", LoadStatistics);
  return object;
}

Napi::Object EngineObject(Napi::Env env, const ThreadPtr& thread, const ModelInfo& info,
                          const ImageCutter& cutter) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("info", InfoObject(env, info));
  AddMethod(object, "encodeImage", [thread, cutter](const Napi::CallbackInfo& call) {
    return EncodeImage(thread, cutter, call);
  });
  object.Set("watchImage", Napi::Function::New(env, WatchObject, "watchImage"));
  Bind(object, thread, "releaseImage", ReleaseImage);
  Bind(object, thread, "step", Step);
  Bind(object, thread, "readPages", ReadPages);
  Bind(object, thread, "writePages", WritePages);
  Bind(object, thread, "readRows", ReadRows);
  object.Set("calibration", CalibrationObject(env, thread));
  AddMethod(object, "dispose",
            [thread](const Napi::CallbackInfo& call) { return thread->Dispose(call.Env()); });
  return object;
}

Napi::Promise StartEngine(const Napi::CallbackInfo& info) {
  const EngineOptions options = ReadEngineOptions(info[0]);
  const ThreadPtr thread = EngineThread::Start(info.Env());
  auto model = std::make_shared<ModelInfo>();
  auto cutter = std::make_shared<ImageCutter>();
  const std::weak_ptr<EngineThread> weak = thread;
  return thread->Submit(
      info.Env(),
      [=](Hosted& hosted) {
        hosted.engine = Engine::Create(options);
        *model = hosted.engine->info();
        *cutter = hosted.engine->image_cutter();
      },
      // the thread outlives its pending jobs, and a job must not own its thread
      [=](Napi::Env env) -> Napi::Value { return EngineObject(env, weak.lock(), *model, *cutter); });
}

Napi::Value CreateEngine(const Napi::CallbackInfo& info) {
  return Guard(info, "CONFIG_INVALID", StartEngine);
}

Napi::Value DescribeMemoryValue(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    const MemoryNeed need = DescribeMemory(ReadMemoryOptions(info[0]));
    Napi::Object object = Napi::Object::New(env);
    object.Set("weights", static_cast<double>(need.weights));
    object.Set("block", static_cast<double>(need.block));
    object.Set("workspace", static_cast<double>(need.workspace));
    object.Set("threads", static_cast<double>(need.threads));
    object.Set("tiles", static_cast<double>(need.tiles));
    object.Set("profiles", static_cast<double>(need.profiles));
    return object;
  } catch (const Error& error) {
    throw Napi::Error(env, MakeError(env, CodeName(error.code()), error.what()));
  }
}

Napi::Value LimitIsaValue(const Napi::CallbackInfo& info) {
  try {
    LimitIsa(ReadString(info[0], "most"));
  } catch (const Error& error) {
    throw Napi::Error(info.Env(), MakeError(info.Env(), CodeName(error.code()), error.what()));
  }
  return info.Env().Undefined();
}

Napi::Value BuildInfo(const Napi::CallbackInfo& info) {
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("version", KVCAPSULE_VERSION);
  object.Set("ggml", ggml_version());
  object.Set("isa", Name(BestIsa()));
  object.Set("instructionSet", InstructionSet());
  object.Set("arithmetic", Arithmetic());
  return object;
}

Napi::Value MeasureRoofValue(const Napi::CallbackInfo& info) {
  const auto threads = static_cast<int32_t>(ReadInteger(info[0], "threads", 1, 512));
  const Roof roof = MeasureRoof(threads, ReadInteger(info[1], "bytes", 1 << 20, INT64_C(1) << 36));
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("readBytesPerSecond", roof.read_bytes_per_second);
  object.Set("flopsPerSecond", roof.flops_per_second);
  return object;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("createEngine", Napi::Function::New(env, CreateEngine, "createEngine"));
  exports.Set("buildInfo", Napi::Function::New(env, BuildInfo, "buildInfo"));
  exports.Set("describeMemory", Napi::Function::New(env, DescribeMemoryValue, "describeMemory"));
  exports.Set("limitIsa", Napi::Function::New(env, LimitIsaValue, "limitIsa"));
  exports.Set("measureRoof", Napi::Function::New(env, MeasureRoofValue, "measureRoof"));
  return exports;
}

}  // namespace
}  // namespace kvcapsule::addon

static Napi::Object InitModule(Napi::Env env, Napi::Object exports) {
  return kvcapsule::addon::Init(env, exports);
}
NODE_API_MODULE(kvcapsule, InitModule)
