#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {

// How far a layer turns the residual stream: 1 − E[cos(x, x')].
double influence(const LayerStatistics& layer) {
  return 1 - block_cosine_of(layer.of_block(stats::block_similarity));
}

constexpr Criterion kInfluence{.name = "block_influence",
                               .source = "Men et al., arXiv:2403.03853, eq. 1",
                               .needs = {.statistics = {&stats::block_similarity}},
                               .layer = influence};
constexpr const Criterion* kCriteria[] = {&kInfluence};

}  // namespace

extern const Method shortgpt{
    .name = "shortgpt",
    .source = "Men et al., ShortGPT, arXiv:2403.03853",
    .summary = "drops the layers that turn the residual stream least (block influence)",
    .criteria = kCriteria,
    .structure = Structure::Layer,
};

}  // namespace prunus::methods
