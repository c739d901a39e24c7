// Drives llama.cpp's library for `kvcapsule bench engine`. Usage: llama-peer MODEL.gguf THREADS
// Reads one JSON object a line and answers each with one:
//   {"op": "open", "sequences": n, "context": tokens of each}   {}
//   {"op": "prefill", "prompts": [[id...]...]}      {"seconds": s, "cpuSeconds": s, "tokens": [id...]}
//   {"op": "decode", "steps": n}                    {"seconds": [s...], "cpuSeconds": s, "tokens": [[id...]...]}
//   {"op": "mixed", "steps": n, "chunk": [id...]}   the same
// cpuSeconds is the CPU time of all threads, of all steps together.
// prefill forgets what was there and computes all prompts as one batch; decode continues every sequence by its
// most likely token, one step for all of them at a time; mixed does so for all but the last, which takes the chunk as a
// part of its prompt in every step. Keys and values are F16, everything else is llama.cpp's
// default. Faults end the process with a message.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "llama.h"

namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

[[noreturn]] void Fail(const std::string& message) {
  std::cerr << "llama-peer: " << message << '\n';
  std::exit(1);
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double CpuSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

class Peer {
 public:
  Peer(const char* path, int threads) : threads_(threads) {
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    model_.reset(llama_model_load_from_file(path, params));
    if (!model_) Fail(std::string("cannot load ") + path);
    vocab_ = llama_vocab_n_tokens(llama_model_get_vocab(model_.get()));
  }

  json Open(const json& request) {
    const uint32_t sequences = request.at("sequences"), context = request.at("context");
    llama_context_params params = llama_context_default_params();
    params.n_ctx = sequences * ((context + 255) / 256 * 256);
    params.n_batch = params.n_ctx;
    params.n_seq_max = sequences;
    params.n_threads = params.n_threads_batch = threads_;
    context_.reset();
    context_.reset(llama_init_from_model(model_.get(), params));
    if (!context_) Fail("cannot make a context");
    batch_ = std::make_unique<Batch>(static_cast<int32_t>(params.n_ctx));
    return json::object();
  }

  json Prefill(const json& request) {
    const auto prompts = request.at("prompts").get<std::vector<std::vector<llama_token>>>();
    llama_memory_clear(llama_get_memory(context_.get()), true);
    const auto start = Clock::now();
    const double cpu = CpuSeconds();
    batch_->Clear();
    positions_.clear();
    std::vector<int32_t> last;
    for (size_t sequence = 0; sequence < prompts.size(); ++sequence) {
      for (size_t i = 0; i < prompts[sequence].size(); ++i) {
        batch_->Add(prompts[sequence][i], i, sequence, i + 1 == prompts[sequence].size());
      }
      last.push_back(batch_->size() - 1);
      positions_.push_back(static_cast<llama_pos>(prompts[sequence].size()));
    }
    next_ = Decode(last);
    return {{"seconds", SecondsSince(start)}, {"cpuSeconds", CpuSeconds() - cpu}, {"tokens", next_}};
  }

  json Continue(const json& request) {
    const auto chunk = request.value("chunk", std::vector<llama_token>{});
    json seconds = json::array(), tokens = json::array();
    const double cpu = CpuSeconds();
    for (int step = request.at("steps"); step > 0; --step) {
      const auto start = Clock::now();
      batch_->Clear();
      std::vector<int32_t> rows;
      for (size_t sequence = 0; sequence < next_.size(); ++sequence) {
        const bool prompt = !chunk.empty() && sequence + 1 == next_.size();
        if (prompt) {
          for (size_t i = 0; i < chunk.size(); ++i)
            batch_->Add(chunk[i], positions_[sequence]++, sequence, i + 1 == chunk.size());
        } else {
          batch_->Add(next_[sequence], positions_[sequence]++, sequence, true);
        }
        rows.push_back(batch_->size() - 1);
      }
      next_ = Decode(rows);
      seconds.push_back(SecondsSince(start));
      tokens.push_back(next_);
    }
    return {{"seconds", seconds}, {"cpuSeconds", CpuSeconds() - cpu}, {"tokens", tokens}};
  }

 private:
  class Batch {
   public:
    explicit Batch(int32_t rows) : batch_(llama_batch_init(rows, 0, 1)) {}
    ~Batch() { llama_batch_free(batch_); }
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    void Clear() { batch_.n_tokens = 0; }
    void Add(llama_token token, llama_pos position, llama_seq_id sequence, bool sampled) {
      const int32_t row = batch_.n_tokens++;
      batch_.token[row] = token;
      batch_.pos[row] = position;
      batch_.n_seq_id[row] = 1;
      batch_.seq_id[row][0] = sequence;
      batch_.logits[row] = sampled;
    }
    int32_t size() const { return batch_.n_tokens; }
    const llama_batch& get() const { return batch_; }

   private:
    llama_batch batch_;
  };

  // Most likely tokens after the rows.
  std::vector<llama_token> Decode(const std::vector<int32_t>& rows) {
    const int32_t status = llama_decode(context_.get(), batch_->get());
    if (status != 0) Fail("llama_decode returned " + std::to_string(status));
    std::vector<llama_token> tokens;
    for (const int32_t row : rows) {
      const float* logits = llama_get_logits_ith(context_.get(), row);
      tokens.push_back(static_cast<llama_token>(std::max_element(logits, logits + vocab_) - logits));
    }
    return tokens;
  }

  struct FreeModel {
    void operator()(llama_model* model) const { llama_model_free(model); }
  };
  struct FreeContext {
    void operator()(llama_context* context) const { llama_free(context); }
  };

  const int threads_;
  std::unique_ptr<llama_model, FreeModel> model_;
  std::unique_ptr<llama_context, FreeContext> context_;
  std::unique_ptr<Batch> batch_;
  int32_t vocab_ = 0;
  std::vector<llama_pos> positions_;  // of each sequence's next token
  std::vector<llama_token> next_;     // not yet fed
};

void OnLog(ggml_log_level level, const char* text, void*) {
  if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) Fail("usage: llama-peer MODEL.gguf THREADS");
  llama_log_set(OnLog, nullptr);
  llama_backend_init();
  try {
    Peer peer(argv[1], std::stoi(argv[2]));
    for (std::string line; std::getline(std::cin, line);) {
      const json request = json::parse(line);
      const std::string op = request.at("op");
      json answer;
      if (op == "open") {
        answer = peer.Open(request);
      } else if (op == "prefill") {
        answer = peer.Prefill(request);
      } else if (op == "decode" || op == "mixed") {
        answer = peer.Continue(request);
      } else {
        Fail("unknown op " + op);
      }
      std::cout << answer.dump() << std::endl;
    }
  } catch (const std::exception& error) {
    Fail(error.what());
  }
  llama_backend_free();
  return 0;
}
