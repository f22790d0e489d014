#pragma once
#include <cstdint>
#include <vector>

#include "prunus/calib/vocab_pass.h"
#include "prunus/model/model.h"

namespace prunus {

/// Throws Unsupported, saying why, where the size of the residual stream matters to what reads it,
/// or a norm stands behind a part: then no factor can be taken into the weights.
void check_stream_scale(const Model& model);

/// Of each layer of `pruned` the factor by which its stream should be larger in front of it:
/// where layers of `dense` were taken out there the mean over the tokens of ‖x‖ / ‖x̂‖, x the dense
/// stream behind those layers and x̂ the pruned one, enlarged by all factors before; else 1.
/// `dense_layers` as check_two_streams(), whose errors it throws. Both models are streamed: a layer
/// of each is in memory, and two hidden states per token. Throws Numeric where a factor is not
/// finite or 0. Source: Prune&Comp, arXiv:2507.18212. Differs: all layers go at once, and x̂ is
/// behind the gaps before.
std::vector<double> stream_scales(const Model& pruned, const Model& dense,
                                  const std::vector<int64_t>& dense_layers,
                                  const std::vector<TokenBatch>& rows, at::Device device);

/// The model whose stream is larger by these factors, one per layer, from there on: what the parts
/// behind add is smaller by as much, since norms in front of everything that reads the stream make
/// the two the same but for their epsilon. So a tied embedding stays as it is.
Model with_scaled_stream(const Model& model, const std::vector<double>& scales);

}  // namespace prunus
