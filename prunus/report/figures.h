#pragma once
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

/// How a figure is printed for people; csv and json hold it as it is.
enum class FigureStyle { Count, Bytes, Operations, Percent, Two, Four, Word };

/// What a figure is about, in the order in which a table shows them.
enum class FigureGroup { Origin, Size, Compute, Recovery, Perplexity, Task, Divergence, Speed };

using FigureValue = std::variant<int64_t, double, std::string>;

/// One thing known of a model. Its name holds every condition it was measured under: figures may be
/// held against each other only if these are the same.
struct Figure {
  FigureGroup group;
  std::string name;
  FigureStyle style;
  FigureValue value;
};

/// What a record tells of one model, by the path that the record has for it.
struct ModelFigures {
  std::string model;
  std::vector<Figure> figures;
};

/// The figures of a record: run.json of any command (base/run_schema.h), or what eval and bench
/// wrote before they wrote that (an evaluation without `format`, "prunus-bench"). Only keys that
/// figures are made of are looked at, so that records of earlier versions are read, too.
/// `source` names the record in messages; `model` is the directory of a run that made a model
/// (prune, recover, …), which its record does not name.
/// Throws Corrupt: no record of this kind, of a later version, or not as Prunus writes it.
std::vector<ModelFigures> figures_of(const Json& record, const std::string& model,
                                     const std::string& source);

/// Sizes of a model: those of "parameters", "bytes" and "macs_64_tokens" that are there.
/// Throws Corrupt where one is neither a number nor null.
std::vector<Figure> size_figures(const Json& sizes, const std::string& source);

}  // namespace prunus
