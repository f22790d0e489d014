// A training step beside its floor: the matrix products of the same step alone, in the same shapes.
//   [PRUNUS_BENCH_MODEL=DIR] [PRUNUS_BENCH_DEVICE=cuda] [PRUNUS_BENCH_NEW_PAGES=1] train_bench
// NEW_PAGES: freed blocks go back to the system instead of into the cache that training uses.
// Default model: random weights of a Llama with 110 M parameters (768 wide, 12 layers, 12 heads,
// 2,048 channels, 32,000 tokens, tied). A step is 2 rows of 256 tokens in one micro-batch: forward,
// backward, clip, AdamW; adapters of rank 8 on the seven projections, or all weights. On CUDA in
// BF16, on the CPU in FP32.
// Floor in FLOPs, T tokens, P weights of the layers' matrices, r adapter parameters: adapters
// 4TP + 6Tr, all weights 6TP; head 4T·V·H (6 where trained); attention 6 products of half its
// square (causal). Step and floor take turns; the figures are medians, the ratio that of medians.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <benchmark/benchmark.h>
#include <nlohmann/json.hpp>

#include "prunus/base/block_cache.h"
#include "prunus/base/json.h"
#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/recover/pretrain.h"
#include "prunus/train/trainer.h"

namespace {

using namespace prunus;

constexpr int64_t kRows = 2;
constexpr int64_t kSeq = 256;
constexpr int64_t kTokens = kRows * kSeq;
constexpr int64_t kRank = 8;

at::Device bench_device() {
  const char* name = std::getenv("PRUNUS_BENCH_DEVICE");
  return at::Device(name == nullptr ? "cpu" : name);
}

at::ScalarType compute() { return bench_device().is_cpu() ? at::kFloat : at::kBFloat16; }

Json config_110m() {
  return {{"model_type", "llama"},      {"vocab_size", 32000},
          {"hidden_size", 768},         {"intermediate_size", 2048},
          {"num_hidden_layers", 12},    {"num_attention_heads", 12},
          {"num_key_value_heads", 12},  {"max_position_embeddings", 1024},
          {"rms_norm_eps", 1e-5},       {"hidden_act", "silu"},
          {"tie_word_embeddings", true}};
}

const Model& bench_model() {
  static const Model model = [] {
    if (const char* dir = std::getenv("PRUNUS_BENCH_MODEL")) return open_model(dir);
    const ModelConfig config = parse_config(config_110m(), "110 M");
    return Model(config, std::make_shared<InitialSource>(config, 0.02, 1, at::kFloat));
  }();
  return model;
}

// Waits for the device.
void finish() {
  if (!bench_device().is_cpu()) at::ones({1}, at::device(bench_device())).item<float>();
}

template <typename Work>
double seconds_of(Work work) {
  finish();
  const Timer timer;
  work();
  finish();
  return timer.seconds();
}

at::Tensor random_matrix(int64_t rows, int64_t columns) {
  return at::rand({rows, columns}, at::device(bench_device()).dtype(compute()));
}

// Forward, gradient of x, and of W where it is trained.
void linear_products(const at::Tensor& x, const at::Tensor& w, const at::Tensor& dy, bool weight) {
  at::mm(x, w.t());
  at::mm(dy, w);
  if (weight) at::mm(dy.t(), x);
}

void adapter_products(const at::Tensor& x, const at::Tensor& dy) {
  const at::Tensor a = random_matrix(kRank, x.size(1));
  const at::Tensor b = random_matrix(dy.size(1), kRank);
  const at::Tensor h = at::mm(x, a.t());
  at::mm(h, b.t());
  const at::Tensor dh = at::mm(dy, b);
  at::mm(dh, a);
  at::mm(dh.t(), x);
  at::mm(dy.t(), h);
}

// Two products forward, four backward, over the half of the square that is not masked.
void attention_products(const LayerShape& shape, int64_t head_dim) {
  const auto options = at::device(bench_device()).dtype(compute());
  const int64_t heads = kRows * shape.num_attention_heads;
  const at::Tensor q = at::rand({heads, kSeq, head_dim}, options);
  const at::Tensor k = at::rand({heads, kSeq / 2, head_dim}, options);
  const at::Tensor p = at::rand({heads, kSeq, kSeq / 2}, options);
  for (int i = 0; i < 3; ++i) {
    at::bmm(q, k.transpose(1, 2));
    at::bmm(p, k);
  }
}

class Floor {
 public:
  Floor(const Model& model, bool full) : model_(model), full_(full) {
    for (const TensorInfo& tensor : model.tensors()) {
      const bool head = tensor.name == model.tensor(Role::LmHead).name;
      if (tensor.spec->rank != 2 || (tensor.layer < 0 && !head)) continue;
      inputs_.push_back(random_matrix(kTokens, tensor.shape[1]));
      weights_.push_back(random_matrix(tensor.shape[0], tensor.shape[1]));
      grads_.push_back(random_matrix(kTokens, tensor.shape[0]));
      adapted_.push_back(!full && !head);
    }
  }

  void run() const {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < weights_.size(); ++i) {
      linear_products(inputs_[i], weights_[i], grads_[i], full_);
      if (adapted_[i]) adapter_products(inputs_[i], grads_[i]);
    }
    for (const LayerShape& shape : model_.config().layers) {
      attention_products(shape, model_.config().head_dim);
    }
  }

 private:
  const Model& model_;
  bool full_;
  std::vector<at::Tensor> inputs_, weights_, grads_;
  std::vector<bool> adapted_;
};

DataSplit random_rows(const Model& model) {
  DataSplit data;
  const at::Tensor ids = at::randint(0, model.config().vocab_size, {kRows, kSeq}, at::kLong);
  for (int64_t row = 0; row < kRows; ++row) {
    TrainRow one;
    const int64_t* first = ids[row].data_ptr<int64_t>();
    one.ids.assign(first, first + kSeq);
    one.scored.assign(kSeq, 1);
    one.scored[0] = 0;
    data.train.push_back(std::move(one));
  }
  return data;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

TrainModel make_model(const Model& model, bool full, bool checkpoint) {
  const TrainModelOptions options{.checkpoint_blocks = checkpoint, .compute = compute()};
  if (full) return TrainModel(model, bench_device(), options);
  LoraOptions lora;
  lora.r = kRank;
  return TrainModel(model, bench_device(), options,
                    LoraAdapter::make(model, lora, 1, bench_device()));
}

void step(benchmark::State& state, bool full, bool checkpoint) {
  const Model& model = bench_model();
  TrainModel trained = make_model(model, full, checkpoint);
  const DataSplit data = random_rows(model);
  TrainerOptions options;
  options.batch_rows = kRows;
  options.micro_rows = kRows;
  options.max_steps = 1 << 20;
  Trainer trainer(trained, data, nullptr, options);
  const Floor floor(model, full);
  std::vector<double> steps, floors;
  struct Enough {};
  try {
    trainer.run([&](const Json& line) {
      if (line.at("step").get<int64_t>() == 0) return;
      static thread_local double before = 0;
      const double now = line.at("seconds").get<double>();
      if (line.at("step").get<int64_t>() > 1) {  // the first one warms up
        steps.push_back(now - before);
        floors.push_back(seconds_of([&] { floor.run(); }));
      }
      before = now;
      if (!state.KeepRunning()) throw Enough();
    });
  } catch (const Enough&) {
  }
  state.counters["step_s"] = median(steps);
  state.counters["products_s"] = median(floors);
  state.counters["ratio"] = median(steps) / median(floors);
  state.counters["tokens_per_s"] = kTokens / median(steps);
  state.counters["peak_bytes"] = static_cast<double>(peak_memory_bytes());
}

}  // namespace

int main(int argc, char** argv) {
  set_verbosity(Verbosity::Quiet);
  return_large_blocks();
  if (std::getenv("PRUNUS_BENCH_NEW_PAGES") == nullptr) reuse_tensor_memory();
  struct Case {
    const char* name;
    bool full, checkpoint;
  };
  for (const Case& one : {Case{"lora", false, false}, Case{"lora_checkpointed", false, true},
                          Case{"full", true, false}}) {
    benchmark::RegisterBenchmark(
        one.name, [one](benchmark::State& state) { step(state, one.full, one.checkpoint); })
        ->Iterations(6)
        ->Unit(benchmark::kSecond)
        ->UseRealTime();
  }
  benchmark::AddCustomContext("threads", std::to_string(at::get_num_threads()));
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
