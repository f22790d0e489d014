#include "prunus/cli/compare_table.h"

#include <algorithm>
#include <filesystem>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/run_schema.h"
#include "prunus/cli/text_table.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

std::string canonical(const std::string& path) {
  std::error_code ignored;
  fs::path whole = fs::weakly_canonical(fs::absolute(path, ignored), ignored);
  if (!whole.has_filename()) whole = whole.parent_path();  // a slash at the end
  return whole.string();
}

Json to_json(const FigureValue& value) {
  return std::visit([](const auto& one) { return Json(one); }, value);
}

std::string plain(const FigureValue& value) {
  const auto* word = std::get_if<std::string>(&value);
  return word != nullptr ? *word : to_json(value).dump();
}

std::string shown(FigureStyle style, const FigureValue& value) {
  const Json json = to_json(value);
  if (!json.is_number()) return plain(value);
  const auto number = json.get<double>();
  switch (style) {
    case FigureStyle::Count:
      return with_commas(json.get<int64_t>());
    case FigureStyle::Bytes:
      return decimal_bytes(number);
    case FigureStyle::Operations:
      return decimal_count(number);
    case FigureStyle::Percent:
      return percent(number);
    case FigureStyle::Two:
      return fixed(number, 2);
    case FigureStyle::Four:
      return fixed(number, 4);
    case FigureStyle::Word:
      break;
  }
  return plain(value);
}

// Markdown ends a cell at "|", whatever surrounds it.
std::string markdown_cell(const std::string& text) {
  std::string cell;
  for (const char c : text) cell += c == '|' ? "\\|" : std::string(1, c == '\n' ? ' ' : c);
  return cell;
}

std::string markdown_line(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += " " + markdown_cell(cell) + " |";
  return line + "\n";
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string cell = "\"";
  for (const char c : text) cell += c == '"' ? "\"\"" : std::string(1, c);
  return cell + "\"";
}

std::string csv_line(const std::vector<std::string>& cells) {
  std::string line;
  for (const std::string& cell : cells) line += (line.empty() ? "" : ",") + csv_cell(cell);
  return line + "\n";
}

}  // namespace

size_t CompareTable::column(const std::string& model_path) {
  const std::string path = canonical(model_path);
  const auto found = std::find(paths_.begin(), paths_.end(), path);
  if (found != paths_.end()) return static_cast<size_t>(found - paths_.begin());
  paths_.push_back(path);
  names_.push_back(model_path);
  return names_.size() - 1;
}

void CompareTable::add(size_t column, const Figure& figure, const std::string& source) {
  auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& one) {
    return one.figure.group == figure.group && one.figure.name == figure.name;
  });
  if (row == rows_.end()) row = rows_.insert(rows_.end(), Row{figure, {}});
  const auto [cell, added] = row->cells.emplace(column, figure.value);
  PRUNUS_CHECK(added || to_json(cell->second) == to_json(figure.value), InvalidArgument, source,
               ": '", figure.name, "' of ", names_[column], " is ", plain(figure.value), ", but ",
               plain(cell->second),
               " stands there from another argument; was the model replaced "
               "between the measurements? Compare such files one at a time");
}

bool CompareTable::holds(size_t column, const std::string& name) const {
  return std::any_of(rows_.begin(), rows_.end(), [&](const Row& row) {
    return row.figure.name == name && row.cells.contains(column);
  });
}

void CompareTable::add_shares() {
  for (const char* name : {"parameters", "MACs, 64 tokens"}) {
    const auto row = std::find_if(rows_.begin(), rows_.end(),
                                  [&](const Row& one) { return one.figure.name == name; });
    if (row == rows_.end() || row->cells.size() < 2 || !row->cells.contains(0)) continue;
    const auto cells = row->cells;
    const FigureGroup group = row->figure.group;
    for (const auto& [column, value] : cells) {
      const double share = to_json(value).get<double>() / to_json(cells.at(0)).get<double>();
      add(column, {group, c10::str(name, ", of the first"), FigureStyle::Percent, share},
          "compare");
    }
  }
}

std::vector<const CompareTable::Row*> CompareTable::sorted() const {
  std::vector<const Row*> rows;
  for (const Row& row : rows_) rows.push_back(&row);
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row* a, const Row* b) { return a->figure.group < b->figure.group; });
  return rows;
}

std::vector<std::string> CompareTable::headers(const std::string& corner) const {
  std::vector<std::string> cells = {corner};
  cells.insert(cells.end(), names_.begin(), names_.end());
  return cells;
}

std::vector<std::string> CompareTable::printed(const Row& row) const {
  std::vector<std::string> cells = {row.figure.name};
  for (size_t i = 0; i < names_.size(); ++i) {
    const auto cell = row.cells.find(i);
    cells.push_back(cell == row.cells.end() ? "-" : shown(row.figure.style, cell->second));
  }
  return cells;
}

std::string CompareTable::text() const {
  std::vector<TextTable::Column> columns;
  for (const std::string& header : headers("")) columns.push_back({header});
  columns[0].align = TextTable::Align::Left;
  TextTable table(columns);
  for (const Row* row : sorted()) table.add(printed(*row));
  return table.text();
}

std::string CompareTable::markdown() const {
  std::string text = markdown_line(headers("figure")) + "|---|";
  for (size_t i = 0; i < names_.size(); ++i) text += "--:|";
  text += '\n';
  for (const Row* row : sorted()) text += markdown_line(printed(*row));
  return text;
}

std::string CompareTable::csv() const {
  std::string text = csv_line(headers("figure"));
  for (const Row* row : sorted()) {
    std::vector<std::string> cells = {row->figure.name};
    for (size_t i = 0; i < names_.size(); ++i) {
      const auto cell = row->cells.find(i);
      cells.push_back(cell == row->cells.end() ? "" : plain(cell->second));
    }
    text += csv_line(cells);
  }
  return text;
}

Json CompareTable::json() const {
  Json rows = Json::array();
  for (const Row* row : sorted()) {
    Json values = Json::array();
    for (size_t i = 0; i < names_.size(); ++i) {
      const auto cell = row->cells.find(i);
      values.push_back(cell == row->cells.end() ? Json() : to_json(cell->second));
    }
    rows.push_back({{"figure", row->figure.name}, {"values", std::move(values)}});
  }
  return {{run_key::kModels, names_}, {run_key::kRows, rows}};
}

}  // namespace prunus
