#include "prunus/pipeline/method.h"
#include "prunus/pipeline/removal.h"

namespace prunus::methods {
namespace {
constexpr const Criterion* kCriteria[] = {&loss_without};
}

extern const Method sleb{
    .name = "sleb",
    .source = "Song et al., SLEB, arXiv:2402.09025",
    .summary = "drops one layer after the other, each time the one without which the loss is least",
    .criteria = kCriteria,
    .structure = Structure::Layer,
    .one_by_one = true,
};

}  // namespace prunus::methods
