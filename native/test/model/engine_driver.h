// Drives an engine as a worker would: opens sequences, hands out blocks, feeds prompts in chunks, decodes.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "golden.h"
#include "kvcapsule/engine.h"

namespace kvcapsule::testing {

// One step plan that owns its arrays.
struct PlanBuilder {
  std::vector<int32_t> ops, chunks, tokens, positions, image_handles, image_rows, samples, top_k;
  std::vector<float> temperature, top_p;
  std::vector<uint64_t> seed;

  void Op(int32_t code, int32_t slot, std::vector<int32_t> arguments) {
    ops.insert(ops.end(), {code, slot, static_cast<int32_t>(arguments.size())});
    ops.insert(ops.end(), arguments.begin(), arguments.end());
  }
  void Row(int32_t token, int32_t position, int32_t image_handle, int32_t image_row) {
    tokens.push_back(token);
    positions.push_back(position);
    image_handles.push_back(image_handle);
    image_rows.push_back(image_row);
  }
  // Greedy, of the last row so far.
  void SampleLast() {
    samples.push_back(static_cast<int32_t>(tokens.size()) - 1);
    temperature.push_back(0);
    top_p.push_back(1);
    top_k.push_back(0);
    seed.push_back(0);
  }
  StepPlan View(bool return_logits) const {
    return {ops,         chunks, tokens, positions, image_handles, image_rows, samples,
            temperature, top_p,  top_k,  seed,      return_logits, false,      {}};
  }
};

// A prompt on its way through the engine, in one raw segment.
struct Request {
  const GoldenCase* golden = nullptr;
  std::vector<EncodedImage> images;
  int32_t slot = 0;
  int32_t fed = 0;        // prompt tokens and answers
  int32_t image_row = 0;  // of the prompt's pictures, counted through
  int32_t blocks = 0;
  std::vector<int32_t> answer;
  std::vector<float> prompt_logits;
  bool done(size_t wanted) const { return answer.size() >= wanted; }
};

class EngineDriver {
 public:
  EngineDriver(std::unique_ptr<Engine> engine, std::string model_dir)
      : engine_(std::move(engine)), model_dir_(std::move(model_dir)) {}

  // Feeds all cases at once, each prompt in chunks of at most `chunk` tokens, and decodes as many tokens as
  // the reference did. Results in the cases' order.
  std::vector<Request> Run(const std::vector<const GoldenCase*>& cases, int32_t chunk) {
    std::vector<Request> requests;
    next_block_ = 0;
    for (const GoldenCase* golden : cases)
      requests.push_back(Open(golden, static_cast<int32_t>(requests.size())));
    bool first = true;
    while (StepAll(requests, chunk, first)) first = false;
    PlanBuilder close;
    for (Request& request : requests) {
      close.Op(2, request.slot, {});
      for (const EncodedImage& image : request.images) engine_->ReleaseImage(image.handle);
    }
    engine_->Step(close.View(false));
    return requests;
  }

  Engine& engine() { return *engine_; }

 private:
  Request Open(const GoldenCase* golden, int32_t slot) {
    Request request;
    request.golden = golden;
    request.slot = slot;
    for (const std::string& picture : golden->pictures) {
      const RgbImage image = ReadPng(model_dir_ + "/" + picture);
      request.images.push_back(engine_->EncodeImage(image.pixels.data(), image.width, image.height));
    }
    return request;
  }

  bool StepAll(std::vector<Request>& requests, int32_t chunk, bool first) {
    PlanBuilder plan;
    std::vector<Request*> sampled;
    for (Request& request : requests) {
      if (first) {
        plan.Op(1, request.slot, {});
        plan.Op(3, request.slot, {});
      }
      if (!request.done(request.golden->answer_ids.size()) && AddRows(plan, request, chunk))
        sampled.push_back(&request);
    }
    if (plan.tokens.empty()) return false;
    const StepResult result = engine_->Step(plan.View(true));
    const size_t vocab = engine_->info().vocab;
    for (size_t i = 0; i < sampled.size(); ++i) {
      if (sampled[i]->answer.empty()) {
        sampled[i]->prompt_logits.assign(&result.logits[i * vocab], &result.logits[i * vocab] + vocab);
      }
      sampled[i]->answer.push_back(result.tokens[i]);
    }
    return true;
  }

  // True when the request's last row is sampled.
  bool AddRows(PlanBuilder& plan, Request& request, int32_t chunk) {
    const auto prompt = static_cast<int32_t>(request.golden->input_ids.size());
    const int32_t rows = request.fed < prompt ? std::min(chunk, prompt - request.fed) : 1;
    std::vector<int32_t> blocks{0};
    while (request.blocks * KvGeometry::kBlockTokens < request.fed + rows) {
      blocks.push_back(next_block_++);
      ++request.blocks;
    }
    if (blocks.size() > 1) plan.Op(4, request.slot, blocks);
    plan.chunks.insert(plan.chunks.end(), {request.slot, 0, rows});
    for (int32_t i = 0; i < rows; ++i, ++request.fed) AddRow(plan, request, prompt);
    if (request.fed < prompt) return false;
    plan.SampleLast();
    return true;
  }

  void AddRow(PlanBuilder& plan, Request& request, int32_t prompt) {
    const int32_t token =
        request.fed < prompt ? request.golden->input_ids[request.fed] : request.answer.back();
    if (request.fed >= prompt || token != engine_->info().image_token_id)
      return plan.Row(token, request.fed, -1, 0);
    int32_t row = request.image_row++;
    size_t image = 0;
    while (row >= request.images[image].tokens) row -= request.images[image++].tokens;
    plan.Row(token, request.fed, request.images[image].handle, row);
  }

  std::unique_ptr<Engine> engine_;
  std::string model_dir_;
  int32_t next_block_ = 0;
};

}  // namespace kvcapsule::testing
