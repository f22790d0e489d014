// What an argument of `prunus compare` tells, be it a directory or a file.
#include <algorithm>
#include <filesystem>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/run_schema.h"
#include "prunus/cli/compare_table.h"
#include "prunus/io/gguf.h"
#include "prunus/io/model_place.h"
#include "prunus/job/inspect.h"
#include "prunus/model/cost.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 28;

void add_sizes(CompareTable& table, const std::string& dir, const std::string& asked) {
  const Model model = open_for_inspection(dir).model;
  const Json sizes = {{run_key::kParameters, model.parameters()},
                      {run_key::kBytes, model.bytes()},
                      {run_key::kMacs, count_macs(model.config(), 64).total()}};
  const std::string source = is_gguf_path(dir) ? dir : dir + "/config.json";
  const size_t column = table.column(asked);
  for (const Figure& one : size_figures(sizes, source)) table.add(column, one, source);
}

void add_directory(CompareTable& table, const std::string& dir, const std::string& asked) {
  const std::string run_file = dir + "/run.json";
  if (fs::exists(dir + "/config.json") || !fs::exists(run_file)) add_sizes(table, dir, asked);
  if (fs::exists(run_file)) add_record(table, read_json(run_file, kMaxBytes), asked, run_file);
}

// A model that was measured before, beside another one say, has other speeds now. All speeds of
// this record then get rows of their own: only they were measured together.
std::string session_of(CompareTable& table, const std::vector<ModelFigures>& models,
                       const std::string& source) {
  for (const ModelFigures& one : models) {
    const size_t column = table.column(one.model);
    const bool measured =
        std::any_of(one.figures.begin(), one.figures.end(), [&](const Figure& figure) {
          return figure.group == FigureGroup::Speed && table.holds(column, figure.name);
        });
    if (measured) return " in " + source;
  }
  return "";
}

}  // namespace

void add_record(CompareTable& table, const Json& record, const std::string& model,
                const std::string& source) {
  const std::vector<ModelFigures> models = figures_of(record, model, source);
  const std::string session = session_of(table, models, source);
  for (const ModelFigures& one : models) {
    const size_t column = table.column(one.model);
    for (Figure figure : one.figures) {
      if (figure.group == FigureGroup::Speed) figure.name += session;
      table.add(column, figure, source);
    }
  }
}

void add_argument(CompareTable& table, const std::string& asked) {
  const std::string path = locate_model(asked).path;
  if (fs::is_directory(path)) return add_directory(table, path, asked);
  if (is_gguf_path(path)) return add_sizes(table, path, asked);
  const std::string folder = fs::path(path).parent_path().string();
  add_record(table, read_json(path, kMaxBytes), folder.empty() ? "." : folder, path);
}

}  // namespace prunus
