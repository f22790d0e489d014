// Calibration's peak memory beside the model's depth. One depth a process, as the peak is the
// process's: tools/depth_bench.py runs several and prints the table.
//   PRUNUS_BENCH_MODEL=DIR depth_bench DEPTH WINDOWS TOKENS RAM
//   (DIR: tools/make_random_model.py --shape llama-3.1-70b --layers 4)
// The checkpoint's few layers serve as DEPTH layers in turn. Each round of them is mapped anew, so
// that to the operating system, which counts resident pages by mapping, the file is as large as
// that of a model of this depth. Hidden states beyond RAM bytes are spilled to the temporary
// directory. Prints one line of JSON.
#include <cstdlib>
#include <iostream>
#include <memory>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/pipeline/score.h"

namespace {

using namespace prunus;

// Layer i is layer i mod n of a checkpoint of n layers, from mapping i / n.
class RepeatedSource : public WeightSource {
 public:
  RepeatedSource(const std::string& dir, int64_t depth)
      : model_(open_model(dir)), layers_(static_cast<int>(model_.layer_count())) {
    for (int64_t first = 0; first < depth; first += layers_) {
      mappings_.push_back(std::make_unique<CheckpointSource>(Checkpoint::open(dir)));
    }
  }

  const ModelConfig& config() const { return model_.config(); }
  at::Tensor read(const TensorInfo& tensor) const override {
    return mapping(tensor).read(original(tensor));
  }
  at::ScalarType dtype(const TensorInfo& tensor) const override {
    return mapping(tensor).dtype(original(tensor));
  }
  void prefetch(const TensorInfo& tensor) const override {
    mapping(tensor).prefetch(original(tensor));
  }
  void release(const TensorInfo& tensor) const override {
    mapping(tensor).release(original(tensor));
  }

 private:
  const TensorInfo& original(const TensorInfo& tensor) const {
    return model_.tensor(tensor.spec->role, tensor.layer < 0 ? -1 : tensor.layer % layers_);
  }
  const CheckpointSource& mapping(const TensorInfo& tensor) const {
    return *mappings_[static_cast<size_t>(std::max(tensor.layer, 0) / layers_)];
  }

  Model model_;
  int layers_;
  std::vector<std::unique_ptr<CheckpointSource>> mappings_;
};

Model deep_model(const std::string& dir, int64_t depth) {
  auto source = std::make_shared<RepeatedSource>(dir, depth);
  ModelConfig config = source->config();
  const auto layers = config.layers;
  config.layers.clear();
  for (size_t i = 0; i < static_cast<size_t>(depth); ++i) {
    config.layers.push_back(layers[i % layers.size()]);
  }
  return Model(std::move(config), std::move(source));
}

// Scores every FFN and attention unit by their first-order Taylor importance.
int64_t calibrate(const Model& model, const at::Tensor& ids, int64_t ram_bytes) {
  std::vector<GroupSet> sets;
  for (GroupSet& set : find_groups(model)) {
    if (set.label == AxisLabel::Ffn || set.label == AxisLabel::KvGroup) sets.push_back(set);
  }
  for (const Criterion* criterion : criteria::all()) {
    if (criterion->name != std::string_view("taylor_vectorize")) continue;
    StreamStore store({.ram_bytes = ram_bytes});
    score_groups(model, sets, *criterion, {{ids}}, {0, model.layer_count()}, {.store = &store});
    return store.spilled_bytes();
  }
  PRUNUS_FAIL(InvalidArgument, "no criterion taylor_vectorize");
}

void run(const std::string& dir, int64_t depth, int64_t windows, int64_t tokens,
         int64_t ram_bytes) {
  PRUNUS_CHECK(depth >= 1 && windows >= 1 && tokens >= 2, InvalidArgument,
               "DEPTH, WINDOWS, TOKENS: expected at least 1, 1, 2");
  const Model model = deep_model(dir, depth);
  at::Generator generator = at::detail::createCPUGenerator(0);
  const at::Tensor ids =
      at::randint(0, model.config().vocab_size, {windows, tokens}, generator, at::kLong);
  const uint64_t before = peak_memory_bytes();
  const Timer timer;
  const int64_t spilled = calibrate(model, ids, ram_bytes);
  const double seconds = timer.seconds();
  const int64_t states = windows * tokens * model.config().hidden_size * (depth + 1) * 4;
  const Json result = {{"depth", depth},
                       {"parameters", model.parameters()},
                       {"file_bytes", model.bytes()},
                       {"windows", windows},
                       {"tokens", tokens},
                       {"seconds", seconds},
                       {"before_bytes", before},
                       {"peak_bytes", peak_memory_bytes()},
                       {"hidden_states_fp32_bytes", states},
                       {"spilled_bytes", spilled}};
  std::cout << result.dump() << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  const char* dir = std::getenv("PRUNUS_BENCH_MODEL");
  if (dir == nullptr || argc != 5) {
    std::cerr << "usage: PRUNUS_BENCH_MODEL=DIR depth_bench DEPTH WINDOWS TOKENS RAM\n";
    return 2;
  }
  return_large_blocks();
  set_verbosity(Verbosity::Quiet);
  try {
    run(dir, std::atoll(argv[1]), std::atoll(argv[2]), std::atoll(argv[3]), std::atoll(argv[4]));
  } catch (const Error& error) {
    std::cerr << "depth_bench: " << error.what() << "\n";
    return exit_code(error.kind());
  }
  return 0;
}
