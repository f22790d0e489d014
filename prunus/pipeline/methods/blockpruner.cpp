#include "prunus/pipeline/method.h"
#include "prunus/pipeline/removal.h"

namespace prunus::methods {
namespace {
constexpr const Criterion* kCriteria[] = {&loss_without};
}

extern const Method blockpruner{
    .name = "blockpruner",
    .source = "Zhong et al., BlockPruner, arXiv:2406.10594",
    .summary =
        "drops one attention or feed-forward part after the other, each time the one without "
        "which the loss is least",
    .criteria = kCriteria,
    .structure = Structure::Part,
    .one_by_one = true,
};

}  // namespace prunus::methods
