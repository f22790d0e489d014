#pragma once
#include <cstdint>
#include <vector>

#include "prunus/model/model.h"
#include "prunus/text/tokenizer.h"
#include "prunus/train/train_data.h"

namespace prunus {

struct SelfDataOptions {
  int64_t rows = 256;        ///< ≥ 1
  int64_t row_tokens = 256;  ///< ids a row, BOS included; 2 to the model's context
  double temperature = 1.0;  ///< > 0
  uint64_t seed = 0;
  int64_t batch_rows = 32;  ///< rows sampled side by side; changes speed, not the result
};

/// Training text drawn from a model itself, for users who have none: rows that begin with BOS
/// (where the tokenizer has one, else EOS, else a uniformly drawn id) and go on by plain sampling
/// from softmax(logits / temperature); after EOS the next id is BOS and a new text begins (one id
/// for both, as in GPT-2, does so by itself). All but the first id are scored. Each place of a row
/// has its random number by seed, row number and place, so rows do not depend on how many there
/// are or go side by side, but for a draw within rounding of the border between two ids.
/// Cost: a forward pass a token. Holds the whole model in FP32 and the keys and values of one
/// batch. Shows progress. Throws InvalidArgument for options out of range and for a BOS or EOS
/// outside the model's vocabulary; Numeric for logits that are not finite; Interrupted.
/// Source of the idea: data-free distillation, e.g. arXiv:2305.17888.
std::vector<TrainRow> generate_rows(const Model& model, const Tokenizer& tokenizer,
                                    at::Device device, const SelfDataOptions& options);

}  // namespace prunus
