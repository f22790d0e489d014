#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

/// How a figure is printed for people; csv and json hold it as it is.
enum class FigureStyle { Count, Bytes, Operations, Percent, Two, Four, Word };

/// Which part of the table a row stands in.
enum class FigureGroup { Origin, Size, Compute, Recovery, Perplexity, Task, Divergence, Speed };

using FigureValue = std::variant<int64_t, double, std::string>;

/// One thing known of a model. Its name holds every condition it was measured under: figures stand
/// in one row only if these are the same.
struct Figure {
  FigureGroup group;
  std::string name;
  FigureStyle style;
  FigureValue value;
};

/// Models side by side: a column each, a row per figure. Columns stand in the order they were
/// first named, rows by group, then likewise.
class CompareTable {
 public:
  /// The column of a model directory, made where it is new. Two spellings of one path are one
  /// model, under the spelling that came first.
  size_t column(const std::string& model_path);
  /// Throws InvalidArgument where the model has another value in this row already; `source` names
  /// the file in the message.
  void add(size_t column, const Figure& figure, const std::string& source);

  /// Whether the model has a value in the row of this name.
  bool holds(size_t column, const std::string& name) const;

  /// Parameters and MACs of every column as parts of the first's, where they are known.
  void add_shares();

  std::string text() const;
  std::string markdown() const;
  std::string csv() const;  ///< RFC 4180, but with \n
  Json json() const;

 private:
  struct Row {
    Figure figure;                        // its value is not used
    std::map<size_t, FigureValue> cells;  // by column
  };
  std::vector<std::string> headers(const std::string& corner) const;
  std::vector<std::string> printed(const Row& row) const;
  std::vector<const Row*> sorted() const;

  std::vector<std::string> names_;
  std::vector<std::string> paths_;  // canonical
  std::vector<Row> rows_;
};

/// What an argument of `prunus compare` tells: a model directory (sizes from config.json, the rest
/// from run.json where there is one), or a file that eval, bench or a run has written.
/// Throws NotFound; Corrupt for a file of another kind or one that contradicts itself; as add().
void add_argument(CompareTable& table, const std::string& path);

/// The figures of what `prunus eval --json` prints.
void add_evaluation(CompareTable& table, const Json& evaluation, const std::string& source);

}  // namespace prunus
