#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/model.h"

namespace prunus {

/// How likely is this continuation after this context?
struct ScoreRequest {
  std::vector<int64_t> context;       ///< at least one id (BOS or EOS where the text is empty)
  std::vector<int64_t> continuation;  ///< at least one id
};

struct ScoreResult {
  double log_likelihood = 0;  ///< Σ log p(continuation | context), nats
  bool greedy = false;        ///< every id of the continuation is the likeliest at its place
};

struct RequestOptions {
  int64_t batch_tokens = 4096;                ///< ids through the model at once
  int64_t hidden_bytes = int64_t{512} << 20;  ///< hidden states of one pass over the layers
  /// Ids of context and continuation that go through the model at most; 0: as many as its
  /// max_position_embeddings. More is for rotary embedding, which knows no end.
  int64_t max_length = 0;
  /// Finished results are appended here; a later call with the same requests goes on behind them
  /// and scores none twice. Empty: nowhere.
  std::string journal = {};
};

/// Scores requests in any number. Sequences longer than the model's context lose their beginning,
/// as in lm-evaluation-harness: the last max_position_embeddings + 1 ids of context and
/// continuation are looked at. Requests that share a context share its computation; a pass over the
/// layers, read one at a time, serves as many batches as hidden_bytes allows; batches hold
/// sequences of similar length. The result does not depend on order or batching (but for the last
/// bits). Shows progress. Throws InvalidArgument (empty parts, ids outside the vocabulary),
/// Numeric, Corrupt (a journal of other requests or another model), Io, Interrupted (after what is
/// finished was written).
std::vector<ScoreResult> score_requests(const Model& model, std::span<const ScoreRequest> requests,
                                        at::Device device, const RequestOptions& options = {});

}  // namespace prunus
