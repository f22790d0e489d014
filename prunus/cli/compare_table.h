#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/report/figures.h"

namespace prunus {

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
  /// "models" and "rows", as they stand in the record of compare.
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

/// What an argument of `prunus compare` tells: a model (io/model_place.h; sizes from config.json,
/// the rest from run.json where there is one), or a file that eval, bench or a run has written.
/// Throws NotFound; Corrupt for a file of another kind or one that contradicts itself; as add().
void add_argument(CompareTable& table, const std::string& asked);

/// The figures of one record. `model` and `source` as in figures_of(). Throws as that, and as
/// add().
void add_record(CompareTable& table, const Json& record, const std::string& model,
                const std::string& source);

}  // namespace prunus
