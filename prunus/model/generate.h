#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/base/rng.h"
#include "prunus/model/model.h"
#include "prunus/model/resident_model.h"

namespace prunus {

struct GenerateOptions {
  int64_t max_tokens = 100;  ///< new tokens, ≥ 1; fewer where the context length ends first
  double temperature = 0;  ///< 0: always the most likely token (greedy); else logits / temperature
  double top_p = 1.0;      ///< (0, 1]: sample among the likeliest tokens that hold this mass
  uint64_t seed = 0;       ///< of the sampling
  std::vector<int64_t> stop_ids = {};  ///< the first of them ends the text and is its last id
};

/// Text generation with cached keys and values by a ResidentModel.
class Generator {
 public:
  Generator(const Model& model, at::Device device, Residence where = {});

  /// New token ids after `prompt` (not empty). `on_token` is called with each as it comes.
  /// Throws InvalidArgument for options out of range, an empty prompt, or one longer than
  /// max_position_embeddings; Numeric for logits that are not finite.
  std::vector<int64_t> generate(const std::vector<int64_t>& prompt, const GenerateOptions& options,
                                const std::function<void(int64_t)>& on_token = {});

 private:
  ResidentModel model_;
};

/// One draw: greedy for temperature 0, else from the softmax of logits / temperature cut to the
/// smallest set of likeliest tokens whose mass reaches top_p (Holtzman et al., arXiv:1904.09751).
/// logits FP32 [vocab].
int64_t sample_token(const at::Tensor& logits, const GenerateOptions& options,
                     PythonRandom& random);

}  // namespace prunus
