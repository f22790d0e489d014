#pragma once
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/vocab_pass.h"
#include "prunus/model/final_norm.h"
#include "prunus/model/model.h"

namespace prunus {

/// KL(dense ‖ other) in nats a token, by what leaves the last layer: of the distributions over the
/// `vocabulary` ids that come most often in some texts, renormalised. Keeps a reference to the
/// model.
class Divergence {
 public:
  Divergence(const Model& dense, const std::vector<const std::vector<TokenBatch>*>& texts,
             int64_t vocabulary, at::Device device);

  /// What the dense model's text gives, batch by batch; before the first of().
  void set_dense(const std::vector<at::Tensor>& hidden) { log_p_ = log_probabilities(hidden); }
  bool has_dense() const { return log_p_.defined(); }
  /// Of another model's, on the first batches of the same text.
  double of(const std::vector<at::Tensor>& hidden) const;

 private:
  at::Tensor log_probabilities(const std::vector<at::Tensor>& hidden) const;

  at::Device device_;
  FinalNorm norm_;
  at::Tensor head_;   // rows of the vocabulary
  at::Tensor log_p_;  // of the dense model, [tokens, vocabulary]
};

}  // namespace prunus
