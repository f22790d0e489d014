// The block stream, forward and backward, beside its floor: the same matrix products alone.
//   PRUNUS_BENCH_MODEL=DIR stream_bench     (DIR: tools/make_random_model.py --shape
//   tinyllama-1.1b)
// Floor in FLOPs, T tokens, P weights in the layers' matrices, H·V in the head:
//   forward 2TP, recomputed 2TP, gradient of activations 2TP, of weights 2TP (param_first only),
//   head 2THV forward and 2THV back; attention's products are added at their sizes.
#include <cstdlib>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <benchmark/benchmark.h>

#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/pipeline/score.h"

namespace {

using namespace prunus;

constexpr int64_t kSamples = 10;
constexpr int64_t kTokens = 64;

const Model* bench_model() {
  static const char* dir = std::getenv("PRUNUS_BENCH_MODEL");
  if (dir == nullptr) return nullptr;
  static const Model model = open_model(dir);
  return &model;
}

const Criterion& criterion(std::string_view name) {
  for (const Criterion* one : criteria::all()) {
    if (one->name == name) return *one;
  }
  std::abort();
}

void stream(benchmark::State& state, std::string_view name) {
  const Model* model = bench_model();
  if (model == nullptr) {
    state.SkipWithError("set PRUNUS_BENCH_MODEL");
    return;
  }
  std::vector<GroupSet> sets;
  for (GroupSet& set : find_groups(*model)) {
    if (set.label == AxisLabel::Ffn || set.label == AxisLabel::KvGroup) sets.push_back(set);
  }
  const at::Tensor ids = at::randint(0, model->config().vocab_size, {kSamples, kTokens}, at::kLong);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        score_groups(*model, sets, criterion(name), {{ids}}, {0, model->layer_count()}, {}));
  }
  state.counters["peak_bytes"] = static_cast<double>(peak_memory_bytes());
}

// The products of one linear layer: forward twice, gradient of x, gradient of W where asked.
double linear_products(int64_t out, int64_t in, bool weight_gradient) {
  const int64_t tokens = kSamples * kTokens;
  const at::Tensor x = at::rand({tokens, in});
  const at::Tensor w = at::rand({out, in});
  const at::Tensor dy = at::rand({tokens, out});
  const Timer timer;
  at::mm(x, w.t());
  at::mm(x, w.t());
  at::mm(dy, w);
  if (weight_gradient) at::mm(dy.t(), x);
  return timer.seconds();
}

// Two products forward (twice), four backward, for every head of every sequence.
double attention_products(const LayerShape& shape, int64_t head_dim) {
  const at::Tensor q = at::rand({kSamples * shape.num_attention_heads, kTokens, head_dim});
  const at::Tensor p = at::rand({kSamples * shape.num_attention_heads, kTokens, kTokens});
  const Timer timer;
  for (int i = 0; i < 4; ++i) {
    at::bmm(q, q.transpose(1, 2));
    at::bmm(p, q);
  }
  return timer.seconds();
}

double head_products(const ModelConfig& config) {
  const int64_t tokens = kSamples * (kTokens - 1);
  const at::Tensor x = at::rand({tokens, config.hidden_size});
  const at::Tensor w = at::rand({config.vocab_size, config.hidden_size});
  const at::Tensor dy = at::rand({tokens, config.vocab_size});
  const Timer timer;
  at::mm(x, w.t());
  at::mm(dy, w);
  return timer.seconds();
}

void bare(benchmark::State& state, std::string_view name) {
  const Model* model = bench_model();
  if (model == nullptr) {
    state.SkipWithError("set PRUNUS_BENCH_MODEL");
    return;
  }
  const c10::NoGradGuard no_grad;
  const bool weight_gradient = criterion(name).needs == Needs::Gradient;
  for (auto _ : state) {
    double seconds = head_products(model->config());
    for (const TensorInfo& tensor : model->tensors()) {
      if (tensor.layer < 0 || tensor.spec->rank != 2) continue;
      seconds += linear_products(tensor.shape[0], tensor.shape[1], weight_gradient);
    }
    for (const LayerShape& shape : model->config().layers) {
      seconds += attention_products(shape, model->config().head_dim);
    }
    state.SetIterationTime(seconds);
  }
}

}  // namespace

int main(int argc, char** argv) {
  set_verbosity(Verbosity::Quiet);
  for (const char* name : {"taylor_vectorize", "taylor_param_first"}) {
    const std::string suffix(name);
    benchmark::RegisterBenchmark(("stream/" + suffix).c_str(),
                                 [name](benchmark::State& state) { stream(state, name); })
        ->Iterations(1)
        ->Unit(benchmark::kSecond)
        ->UseRealTime();
    benchmark::RegisterBenchmark(("bare/" + suffix).c_str(),
                                 [name](benchmark::State& state) { bare(state, name); })
        ->Iterations(1)
        ->Unit(benchmark::kSecond)
        ->UseManualTime();
  }
  benchmark::AddCustomContext("threads", std::to_string(at::get_num_threads()));
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
