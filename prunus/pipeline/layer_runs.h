#pragma once
#include <cstdint>
#include <vector>

#include "prunus/pipeline/score.h"

namespace prunus {

/// What dropping layers that follow each other would change. Of all runs of `length` layers (in
/// 1 … layers) the one with the lowest Criterion::run goes, the first of equal ones. The score of a
/// layer is the lowest of the runs that it is in; where that equals the lowest of all and another
/// run goes, the next larger number, so that the layers with the lowest scores are one run.
/// `states`: the residual stream at the last token of each window, in front of every layer and
/// behind the last, FP64 [windows, hidden_size]. Throws Numeric where a run's score is not finite.
std::vector<double> run_scores(const std::vector<at::Tensor>& states, int64_t length,
                               const Criterion& criterion);

/// The same for the layers of a model, in one walk forward. Memory: a layer, the text's stream, and
/// the states above. The loss is that of the model as it is.
Scores run_scores(const Model& model, const GroupSet& layers, const Criterion& criterion,
                  const std::vector<TokenBatch>& batches, int64_t length, at::Device device);

}  // namespace prunus
