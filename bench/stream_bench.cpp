// The block stream, forward and backward, beside its floor: the same matrix products alone.
//   PRUNUS_BENCH_MODEL=DIR [PRUNUS_BENCH_LAYERS=BEGIN:END] [PRUNUS_BENCH_WINDOWS=64x256]
//   stream_bench (DIR: tools/make_random_model.py --shape tinyllama-1.1b)
// Floor in FLOPs, T tokens, P weights in the layers' matrices, H·V in the head:
//   forward 2TP; in the layers from BEGIN on recomputed 2TP, gradient of activations 2TP, of
//   weights 2TP (param_* only); head 2THV forward and 2THV back; attention's products are added at
//   their sizes.
// read/file: reading the weights once, from start to end. Stream and read begin with the files
// dropped from the page cache (as far as the system does so on request).
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <benchmark/benchmark.h>

#include "prunus/base/block_cache.h"
#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/pipeline/score.h"

namespace {

using namespace prunus;

// Windows of tokens, 10x64 unless told otherwise.
struct Windows {
  int64_t samples = 10;
  int64_t tokens = 64;
};

const Windows& windows() {
  static const Windows given = [] {
    Windows from_text;
    if (const char* text = std::getenv("PRUNUS_BENCH_WINDOWS")) {
      char* end = nullptr;
      from_text.samples = std::strtoll(text, &end, 10);
      from_text.tokens = std::strtoll(end + 1, nullptr, 10);
    }
    return from_text;
  }();
  return given;
}

// As `prune` cuts them: some windows at a time.
const std::vector<TokenBatch>& batches(const Model& model) {
  static const std::vector<TokenBatch> made = [&] {
    std::vector<std::vector<int64_t>> all;
    for (int64_t i = 0; i < windows().samples; ++i) {
      const at::Tensor ids =
          at::randint(0, model.config().vocab_size, {windows().tokens}, at::kLong);
      all.emplace_back(ids.data_ptr<int64_t>(), ids.data_ptr<int64_t>() + windows().tokens);
    }
    return make_batches(all);
  }();
  return made;
}

const Model* bench_model() {
  static const char* dir = std::getenv("PRUNUS_BENCH_MODEL");
  if (dir == nullptr) return nullptr;
  static const Model model = open_model(dir);
  return &model;
}

// Half-open; the score sets are of these layers.
LayerRange bench_layers(const Model& model) {
  LayerRange range{0, model.layer_count()};
  if (const char* text = std::getenv("PRUNUS_BENCH_LAYERS")) {
    char* end = nullptr;
    range.begin = std::strtoll(text, &end, 10);
    range.end = std::strtoll(end + 1, nullptr, 10);
  }
  return range;
}

std::vector<std::string> weight_files() {
  return Checkpoint::open(std::getenv("PRUNUS_BENCH_MODEL")).files();
}

void drop_from_cache() {
  for (const std::string& path : weight_files()) {
    const int file = ::open(path.c_str(), O_RDONLY);
    ::fdatasync(file);
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    ::close(file);
  }
}

void read_files(benchmark::State& state) {
  if (bench_model() == nullptr) {
    state.SkipWithError("set PRUNUS_BENCH_MODEL");
    return;
  }
  std::vector<char> buffer(size_t{8} << 20);
  drop_from_cache();
  int64_t bytes = 0;
  for (auto _ : state) {
    for (const std::string& path : weight_files()) {
      const int file = ::open(path.c_str(), O_RDONLY);
      for (ssize_t got = 1; got > 0; bytes += got) got = ::read(file, buffer.data(), buffer.size());
      ::close(file);
    }
  }
  state.counters["bytes"] = static_cast<double>(bytes);
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
    const bool block = set.label == AxisLabel::Ffn || set.label == AxisLabel::KvGroup;
    if (block && bench_layers(*model).contains(set.layer)) sets.push_back(set);
  }
  drop_from_cache();
  const LayerRange range{bench_layers(*model).begin, model->layer_count()};
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        score_groups(*model, sets, criterion(name), batches(*model), range, {}));
  }
  state.counters["peak_bytes"] = static_cast<double>(peak_memory_bytes());
}

// The products of one linear layer: forward twice, gradient of x, gradient of W where asked.
double linear_products(int64_t rows, int64_t out, int64_t in, bool backward, bool weight_gradient) {
  const int64_t tokens = rows * windows().tokens;
  const at::Tensor x = at::rand({tokens, in});
  const at::Tensor w = at::rand({out, in});
  const at::Tensor dy = at::rand({tokens, out});
  const Timer timer;
  at::mm(x, w.t());
  if (backward) at::mm(x, w.t());
  if (backward) at::mm(dy, w);
  if (backward && weight_gradient) at::mm(dy.t(), x);
  return timer.seconds();
}

// Two products forward (twice), four backward, for every head of every sequence.
double attention_products(int64_t rows, const LayerShape& shape, int64_t head_dim) {
  const int64_t tokens = windows().tokens;
  const at::Tensor q = at::rand({rows * shape.num_attention_heads, tokens, head_dim});
  const at::Tensor p = at::rand({rows * shape.num_attention_heads, tokens, tokens});
  const Timer timer;
  for (int i = 0; i < 4; ++i) {
    at::bmm(q, q.transpose(1, 2));
    at::bmm(p, q);
  }
  return timer.seconds();
}

double head_products(int64_t rows, const ModelConfig& config) {
  const int64_t tokens = rows * (windows().tokens - 1);
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
  const bool weight_gradient = !criterion(name).needs.has(stats::saliency);
  const int64_t begin = bench_layers(*model).begin;
  for (auto _ : state) {
    double seconds = 0;
    for (const TokenBatch& batch : batches(*model)) {
      const int64_t rows = batch.ids.size(0);
      seconds += head_products(rows, model->config());
      for (const TensorInfo& tensor : model->tensors()) {
        if (tensor.layer < 0 || tensor.spec->rank != 2) continue;
        seconds += linear_products(rows, tensor.shape[0], tensor.shape[1], tensor.layer >= begin,
                                   weight_gradient);
      }
      for (const LayerShape& shape : model->config().layers) {
        seconds += attention_products(rows, shape, model->config().head_dim);
      }
    }
    state.SetIterationTime(seconds);
  }
}

}  // namespace

int main(int argc, char** argv) {
  set_verbosity(Verbosity::Quiet);
  return_large_blocks();
  reuse_tensor_memory();  // as the program does
  benchmark::RegisterBenchmark("read/file", read_files)
      ->Iterations(1)
      ->Unit(benchmark::kSecond)
      ->UseRealTime();
  for (const char* name : {"taylor_vectorize", "taylor_param_first", "taylor_param_second"}) {
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
