#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "prunus/base/rng.h"
#include "prunus/model/decoder.h"
#include "prunus/model/model.h"

namespace prunus {

struct GenerateOptions {
  int64_t max_tokens = 100;  ///< new tokens, ≥ 1; fewer where the context length ends first
  double temperature = 0;  ///< 0: always the most likely token (greedy); else logits / temperature
  double top_p = 1.0;      ///< (0, 1]: sample among the likeliest tokens that hold this mass
  uint64_t seed = 0;       ///< of the sampling
  std::vector<int64_t> stop_ids = {};  ///< ends the text; not returned
};

/// Text generation with cached keys and values. Holds the whole model in FP32 on the device, unlike
/// everything that streams.
class Generator {
 public:
  Generator(const Model& model, at::Device device);

  /// New token ids after `prompt` (not empty). `on_token` is called with each as it comes.
  /// Throws InvalidArgument for options out of range, an empty prompt, or one longer than
  /// max_position_embeddings; Numeric for logits that are not finite.
  std::vector<int64_t> generate(const std::vector<int64_t>& prompt, const GenerateOptions& options,
                                const std::function<void(int64_t)>& on_token = {});

 private:
  at::Tensor next_logits(const std::vector<int64_t>& ids, int64_t position,
                         std::vector<LayerCache>& cache) const;

  const Model& model_;
  at::Device device_;
  std::vector<BlockWeights> blocks_;
  at::Tensor norm_;
  at::Tensor head_;  // FP32 [vocab, hidden]
};

/// One draw: greedy for temperature 0, else from the softmax of logits / temperature cut to the
/// smallest set of likeliest tokens whose mass reaches top_p (Holtzman et al., arXiv:1904.09751).
/// logits FP32 [vocab].
int64_t sample_token(const at::Tensor& logits, const GenerateOptions& options,
                     PythonRandom& random);

}  // namespace prunus
