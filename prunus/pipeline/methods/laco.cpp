#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {

// Scores nothing: models are compared as wholes.
constexpr Criterion kLastStates{.name = "last_states",
                                .source = "Yang et al., arXiv:2402.11187, section 3.3",
                                .needs = {.last_tokens = true}};
constexpr const Criterion* kCriteria[] = {&kLastStates};

}  // namespace

// Differs: the ratio is given, and the threshold follows.
extern const Method laco{
    .name = "laco",
    .source = "Yang et al., LaCo, arXiv:2402.11187",
    .summary =
        "makes one layer of several by adding up how they differ, as long as what the model puts "
        "out stays similar; forward pass only",
    .criteria = kCriteria,
    .structure = Structure::Layer,
    .collapses = true,
};

}  // namespace prunus::methods
