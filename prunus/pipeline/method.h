#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "prunus/budget/budget.h"
#include "prunus/criteria/criterion.h"
#include "prunus/graph/scored_set.h"
#include "prunus/solve/sparse_solver.h"

namespace prunus {

/// What kind of thing is removed.
enum class Structure {
  Block,    ///< FFN channels and attention heads, layer by layer
  Channel,  ///< channels of the residual stream, through the whole model
  Layer,    ///< decoder layers
  Part,     ///< attention and feed-forward parts of layers, as a whole
  Expert,   ///< whole feed-forward experts, as many in every layer
  Weight,   ///< single weights of the layers' matrices, set to zero
  Vocab,    ///< tokens: rows of the embedding and head, and the tokenizer's entries
};

/// Which weights of a unit are scored.
enum class Members {
  All,        ///< every matrix that is cut with it
  Consumers,  ///< those that read it alone, by their columns: o_proj, down_proj
  Inputs,     ///< of those that read the same input alone, by their columns, the first
  Router,     ///< the rows of the router alone, for what is known of an expert as a whole
};

/// A published or own method is a choice of parts, each of which an option may override; a new
/// combination needs no code. One object per file of pipeline/methods/.
struct Method {
  std::string_view name;  ///< as on the command line
  std::string_view source;
  std::string_view summary;  ///< one line for --help
  /// The first is the default, the others variants (--taylor).
  std::span<const Criterion* const> criteria;
  Structure structure = Structure::Block;
  Members members = Members::All;
  /// Removes directions of the residual stream, not channels (pipeline/rotate_plan.h): nothing is
  /// scored, though its criterion asks for text. Structure::Channel alone.
  bool rotates = false;
  /// Layers are made of several (pipeline/collapse.h): nothing is scored, though its criterion asks
  /// for text. Structure::Layer alone.
  bool collapses = false;
  std::string_view reduction = {};  ///< of a group's tensors; empty: the conventions'
  Normalisation normalisation = Normalisation::None;
  std::string_view budget = {};  ///< empty: the conventions' local ranking
  double ratio = 0.25;           ///< of the units, or of the weights (Structure::Weight)
  /// Structure::Weight: which weights are compared, a name of solve/pattern.h; empty: those of a
  /// row.
  std::string_view group = {};
  /// Structure::Weight: how what stays makes up for what is zero, a name of solve/sparse_solvers/;
  /// empty: not at all. Where the criterion scores no weights, the solver chooses what stays.
  std::string_view sparse_solver = {};
  SparseOptions sparse_options = {};
  /// Structure::Weight: how many zeros each matrix has, a name of pipeline/allocations/; empty:
  /// as many in all. Where the pattern says how many, it does.
  std::string_view allocation = {};
  std::string_view solver = {};  ///< how what stays makes up for what goes; empty: not at all
  /// Layers or parts: one goes at a time, and what is left is scored anew on the same text.
  bool one_by_one = false;
  /// Calibration text where the user asks for no other amount.
  int64_t calib_samples = 10;
  int64_t calib_tokens = 64;
  /// For a preset, a published setting of another method: which, and the layers at both ends that
  /// are left out.
  std::string_view preset_of = {};
  int64_t skip_first = 0;
  int64_t skip_last = 0;
};

namespace methods {
/// Every method, by file name.
std::span<const Method* const> all();
}  // namespace methods

/// The method of that name. Throws InvalidArgument listing the known ones.
const Method& find_method(std::string_view name);

/// The preset of that name. Throws InvalidArgument listing the known ones.
const Method& find_preset(std::string_view name);

/// The criterion the method uses: its first, or, where `taylor` is given, "taylor_<taylor>".
/// Throws InvalidArgument if the method has no such variant.
const Criterion& criterion_of(const Method& method, std::string_view taylor);

/// The budget of that name. Throws InvalidArgument listing the known ones.
const Budget& find_budget(std::string_view name);

/// The criterion of that name, for tests and tools. Throws InvalidArgument listing the known ones.
const Criterion& find_criterion(std::string_view name);

}  // namespace prunus
