#include "prunus/cli/text_table.h"

#include <algorithm>
#include <cstdio>
#include <initializer_list>

#include <c10/util/Exception.h>

#include <nlohmann/json.hpp>

namespace prunus {
namespace {

std::string fixed(double value, int decimals, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f %s", decimals, value, unit);
  return text;
}

// The first unit is for whole things and is padded as wide as the others, so that columns line up.
// The next unit starts at 1000 of the one before, also in powers of 1024: 0.98 GiB, not 1000 MiB.
std::string scaled(double value, double base, std::initializer_list<const char*> units) {
  auto unit = units.begin();
  if (value < 1000) return fixed(value, 0, *unit);
  while (value >= 1000 && unit + 1 != units.end()) {
    value /= base;
    ++unit;
  }
  return fixed(value, 2, *unit);
}

std::string padded(const std::string& cell, size_t width, TextTable::Align align) {
  const std::string blanks(width - cell.size(), ' ');
  return align == TextTable::Align::Left ? cell + blanks : blanks + cell;
}

}  // namespace

double number_at(const Json& json, const char* key) { return json.at(key).get<double>(); }

std::string word_at(const Json& json, const char* key) { return json.at(key).get<std::string>(); }

std::string fixed(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

void TextTable::add(std::vector<std::string> cells) {
  TORCH_INTERNAL_ASSERT(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

std::string TextTable::text() const {
  std::vector<std::vector<std::string>> lines;
  std::vector<std::string> headers;
  for (const Column& column : columns_) headers.push_back(column.header);
  const bool titled = std::any_of(headers.begin(), headers.end(),
                                  [](const std::string& header) { return !header.empty(); });
  if (titled) lines.push_back(headers);
  lines.insert(lines.end(), rows_.begin(), rows_.end());
  std::vector<size_t> widths(columns_.size(), 0);
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const auto& line : lines) {
    std::string row;
    for (size_t i = 0; i < line.size(); ++i) {
      row += "  " + padded(line[i], widths[i], columns_[i].align);
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + '\n';
  }
  return text;
}

std::string with_commas(int64_t number) {
  std::string text = std::to_string(number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t at = text.size(); at > first + 3; at -= 3) text.insert(at - 3, 1, ',');
  return text;
}

std::string decimal_bytes(double bytes) {
  return scaled(bytes, 1000, {" B", "kB", "MB", "GB", "TB", "PB"});
}

std::string binary_bytes(double bytes) {
  return scaled(bytes, 1024, {"  B", "KiB", "MiB", "GiB", "TiB", "PiB"});
}

std::string decimal_count(double count) { return scaled(count, 1000, {" ", "K", "M", "G", "T"}); }

std::string percent(double fraction) {
  const bool vanishing = fraction > 0 && fraction < 0.00005;
  return vanishing ? "<0.01 %" : fixed(100 * fraction, 2, "%");
}

}  // namespace prunus
