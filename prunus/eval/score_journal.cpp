#include "prunus/eval/score_journal.h"

#include <cmath>
#include <filesystem>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kJournalFormat = "prunus-scores-1";

std::string header_line(const std::string& key, size_t requests) {
  return Json{{"format", kJournalFormat}, {"requests", requests}, {"key", key}}.dump();
}

std::string_view bytes_of(std::span<const int64_t> ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size_bytes()};
}

std::string sample_of(const Model& model, const TensorInfo& info) {
  const int64_t middle = info.shape[0] / 2;
  std::string text;
  for (const int64_t row : {int64_t{0}, middle}) {
    const at::Tensor values = model.source().read_rows(info, row, 1).to(at::kFloat).contiguous();
    text += sha256({static_cast<const char*>(values.const_data_ptr()), values.nbytes()});
  }
  model.source().release(info);
  return text;
}

std::string describe(const ModelConfig& config) {
  std::string text =
      c10::str(config.family->model_type, " ", config.head_dim, " ", config.rope_head_dim, " ",
               config.max_position_embeddings, " ", config.norm_eps, " ",
               static_cast<int>(config.activation), " ", static_cast<int>(config.rope.kind), " ",
               config.rope.theta, " ", config.rope.factor, " ", config.rope.low_freq_factor, " ",
               config.rope.high_freq_factor, " ", config.rope.original_max_position_embeddings);
  for (const LayerShape& layer : config.layers) {
    text += c10::str(" | ", layer.num_attention_heads, " ", layer.num_key_value_heads, " ",
                     layer.sliding_window.value_or(0), " ", layer.rope_pairs);
  }
  return text;
}

// Complete lines only; the file is cut behind the last of them.
std::vector<std::string> complete_lines(const std::string& path) {
  const std::string text = read_file(path);
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  std::error_code error;
  if (begin < text.size()) fs::resize_file(path, begin, error);
  PRUNUS_CHECK(!error, Io, path, ": cannot cut off its unfinished last line: ", error.message());
  return lines;
}

}  // namespace

std::string score_key(const Model& model, std::span<const ScoreRequest> requests,
                      int64_t max_length) {
  std::string text =
      describe(model.config()) + c10::str(" in ", model.precision(), " to ", max_length, "\n");
  for (const TensorInfo& info : model.tensors()) {
    text += c10::str(info.name, " ", info.shape, " ", model.source().dtype(info), " ",
                     sample_of(model, info), "\n");
  }
  for (const ScoreRequest& request : requests) {
    text += sha256(bytes_of(request.context)) + sha256(bytes_of(request.continuation));
  }
  return sha256(text);
}

ScoreJournal::ScoreJournal(std::string path, std::string key, size_t requests)
    : path_(std::move(path)) {
  std::error_code ignored;
  if (fs::exists(path_, ignored)) read(requests, key);
  const bool empty = fs::file_size(path_, ignored) == 0 || !fs::exists(path_, ignored);
  file_.open(path_, std::ios::binary | std::ios::app);
  PRUNUS_CHECK(file_.is_open(), Io, path_, ": cannot open the journal for writing");
  if (empty) write_line(header_line(key, requests));
}

void ScoreJournal::read(size_t requests, const std::string& key) {
  const std::vector<std::string> lines = complete_lines(path_);
  if (lines.empty()) return;
  const Json header = parse_json(lines[0], path_ + ": line 1");
  PRUNUS_CHECK(header.is_object() && header.value("format", Json()) == kJournalFormat, Corrupt,
               path_, ": not a journal of scores: its first line is ", lines[0].substr(0, 80));
  PRUNUS_CHECK(header.value("requests", Json()) == requests && header.value("key", Json()) == key,
               Corrupt, path_, ": a journal of other requests or another model; got ", lines[0],
               ", expected ", header_line(key, requests), "; delete it or name another file");
  std::vector<bool> seen(requests, false);
  for (size_t i = 1; i < lines.size(); ++i) read_pass(lines[i], i + 1, seen);
}

void ScoreJournal::read_pass(const std::string& line, size_t number, std::vector<bool>& seen) {
  const std::string where = c10::str(path_, ": line ", number);
  const Json pass = parse_json(line, where);
  PRUNUS_CHECK(pass.is_array(), Corrupt, where, ": expected an array of results");
  for (const Json& one : pass) {
    PRUNUS_CHECK(one.is_array() && one.size() == 3 && one[0].is_number_unsigned() &&
                     one[1].is_number() && one[2].is_boolean(),
                 Corrupt, where, ": ", one.dump(), " is not [request, log-likelihood, greedy]");
    const auto request = one[0].get<size_t>();
    PRUNUS_CHECK(request < seen.size() && !seen[request], Corrupt, where, ": request ", request,
                 " is there twice, or not one of the ", seen.size());
    seen[request] = true;
    finished_.push_back({request, {one[1].get<double>(), one[2].get<bool>()}});
  }
}

void ScoreJournal::append(std::span<const size_t> requests,
                          const std::vector<ScoreResult>& results) {
  Json pass = Json::array();
  for (const size_t request : requests) {
    pass.push_back({request, results[request].log_likelihood, results[request].greedy});
  }
  write_line(pass.dump());
}

void ScoreJournal::write_line(const std::string& line) {
  file_ << line << '\n';
  file_.flush();
  PRUNUS_CHECK(file_.good(), Io, path_, ": cannot write ", line.size(), " bytes; disk full?");
}

}  // namespace prunus
