#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

/// Cells in aligned columns for a terminal, two spaces apart and indented by two. ASCII only:
/// a byte counts as a column.
class TextTable {
 public:
  enum class Align { Left, Right };
  struct Column {
    std::string header;
    Align align = Align::Right;
  };

  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// One cell per column.
  void add(std::vector<std::string> cells);
  /// The table, every line ended, no blanks at the ends of lines. The line of headers is left out
  /// where all of them are empty.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// A member of a record that this program made.
double number_at(const Json& json, const char* key);
std::string word_at(const Json& json, const char* key);

/// "1.25" with two decimals.
std::string fixed(double value, int decimals);
/// "8,030,261,248".
std::string with_commas(int64_t number);
/// "16.06 GB", "4.10 kB", "12  B": powers of 1000, as storage and the literature on weights count.
std::string decimal_bytes(double bytes);
/// "15.62 GiB": powers of 1024, two decimals so that a column of them lines up.
std::string binary_bytes(double bytes);
/// "424.02 G": a count in powers of 1000.
std::string decimal_count(double count);
/// "6.54 %" of a fraction; "<0.01 %" of what would round to nothing.
std::string percent(double fraction);

}  // namespace prunus
