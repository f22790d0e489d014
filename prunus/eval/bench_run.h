#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <c10/core/Device.h>

#include "prunus/base/json.h"
#include "prunus/model/resident_dtype.h"

namespace prunus {

/// Speed and memory of one model, or of two in turn. Every batch with every prompt is a case.
struct BenchJob {
  std::string model_dir;
  std::string other_dir = {};  ///< a second model; empty: none
  std::vector<int64_t> prompt_tokens = {32, 128};
  std::vector<int64_t> batches = {1, 4};  ///< sequences at once
  int64_t new_tokens = 32;                ///< decode steps after the first token
  int64_t repeat = 5;                     ///< measured runs of each case; at least 1
  int64_t warmup = 1;                     ///< runs of each case before them
  uint64_t seed = 0;                      ///< of the random prompts
  ResidentDtype dtype = ResidentDtype::Auto;
  KvDtype kv_dtype = KvDtype::Auto;
  at::Device device = at::kCPU;
  std::string recipe = {};  ///< file that options were read from, for the record
  std::string model_asked =
      {};  ///< the model as it was asked for, for the record; empty: model_dir
  std::string other_asked = {};  ///< likewise
};

/// Measures. → run.json's content (docs/formats/run.md, docs/bench.md); writes nothing.
/// Throws InvalidArgument: a number below 1, or prompt and new tokens beyond a model's context;
/// Interrupted; as open_model.
Json run_bench(const BenchJob& job);

}  // namespace prunus
