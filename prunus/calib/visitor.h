#pragma once
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/collector.h"
#include "prunus/model/model.h"

namespace prunus {

/// The products of a layer in the order in which their inputs come to be: those of one stage read
/// what the stages before it put out.
enum class Stage {
  QueryKeyValue,  ///< the projections into attention
  Output,         ///< out of attention
  GateUp,         ///< into the feed-forward part, router and shared experts included
  Down,           ///< out of it
  Layer,          ///< all of them
};
/// The stage of a matrix product; never Layer.
Stage stage_of(Role role);

/// What is done with the layers on a walk through a model (BlockStream::walk): each layer is shown
/// to `collector` batch by batch, then to visit(), then its output is computed for the next layer.
class LayerVisitor {
 public:
  /// How visit() changes the weights it is shown, and so when the layer's output is computed.
  enum class Edits {
    None,     ///< not at all: collecting and computing the output are one pass
    Layer,    ///< all after the whole layer was seen with the weights as they were: two passes
    ByStage,  ///< stage by stage, each seen behind the changed stages before it: each part of the
              ///< layer is run up to the stage, and once more at the end
  };
  virtual ~LayerVisitor() = default;
  virtual Edits edits(int /*layer*/) const { return Edits::None; }
  /// Sees the layer's products (Collector::on_forward, on_block; on_stage with Edits::ByStage).
  /// Null: nothing is collected, and a visitor that edits is shown the layer in one pass.
  virtual Collector* collector(int /*layer*/) { return nullptr; }
  /// All batches have passed. Stages of a part that the layer lacks are not shown. To change a
  /// weight, put another tensor in its place (the one that is there may be the file's own memory);
  /// the walk keeps it until the next layer.
  virtual void visit(int /*layer*/, Stage /*stage*/, BlockWeights& /*weights*/) {}
  /// The layer is done; what leaves it, batch by batch, in host memory.
  virtual void after(int /*layer*/, const std::vector<at::Tensor>& /*hidden*/) {}
};

}  // namespace prunus
