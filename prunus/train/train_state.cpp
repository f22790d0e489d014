#include "prunus/train/train_state.h"

#include <cmath>
#include <filesystem>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/optional_json.h"
#include "prunus/base/whole_number.h"
#include "prunus/io/tensor_file.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;

constexpr const char* kState = "/state.json";
constexpr const char* kWhere = "state.json";
constexpr int kStateVersion = 2;

std::optional<double> optional_of(const Json& json) {
  if (json.is_null()) return std::nullopt;
  return json.get<double>();
}

Json changes_json(const std::vector<OptionChange>& changes) {
  Json json = Json::array();
  for (const OptionChange& one : changes) {
    json.push_back({one.step, one.option, one.before, one.after});
  }
  return json;
}

std::vector<OptionChange> changes_of(const Json& json) {
  std::vector<OptionChange> changes;
  for (const Json& one : json) {
    changes.push_back({whole_number(one.at(0), kWhere), one.at(1).get<std::string>(),
                       one.at(2).get<std::string>(), one.at(3).get<std::string>()});
  }
  return changes;
}

Json to_json(const TrainState& state) {
  const TrainOutcome& outcome = state.outcome;
  const LossSums& sums = state.last_sums;
  return {{"steps", outcome.steps},
          {"best_step", outcome.best_step},
          {"stopped_early", outcome.stopped_early},
          {"valid_before", or_null(outcome.valid_before)},
          {"valid_best", or_null(outcome.valid_best)},
          {"valid_last", or_null(outcome.valid_last)},
          {"tokens", outcome.tokens},
          {"targets", outcome.targets},
          {"seconds", outcome.seconds},
          {"changes", changes_json(outcome.changes)},
          {"best", or_null(state.best)},
          {"worse", state.worse},
          {"judged_step", state.judged_step},
          {"logged_step", state.logged_step},
          {"last_norm", state.last_norm},
          {"last_rate", state.last_rate},
          {"last_sums", {sums.objective, sums.ce, sums.kl, sums.seam, sums.targets}},
          {"losses", state.losses},
          {"settings", state.settings}};
}

void read_outcome(TrainOutcome& outcome, const Json& json) {
  outcome.steps = whole_number(json, "steps", kWhere);
  outcome.best_step = whole_number(json, "best_step", kWhere);
  outcome.stopped_early = json.at("stopped_early").get<bool>();
  outcome.valid_before = optional_of(json.at("valid_before"));
  outcome.valid_best = optional_of(json.at("valid_best"));
  outcome.valid_last = optional_of(json.at("valid_last"));
  outcome.tokens = whole_number(json, "tokens", kWhere);
  outcome.targets = whole_number(json, "targets", kWhere);
  outcome.seconds = json.at("seconds").get<double>();
  outcome.changes = changes_of(json.at("changes"));
  outcome.resumed = true;
}

TrainState from_json(const Json& json) {
  TrainState state;
  read_outcome(state.outcome, json);
  state.best = optional_of(json.at("best"));
  state.worse = whole_number(json, "worse", kWhere);
  state.judged_step = whole_number(json, "judged_step", kWhere);
  state.logged_step = whole_number(json, "logged_step", kWhere);
  state.last_norm = json.at("last_norm").get<double>();
  state.last_rate = json.at("last_rate").get<double>();
  const Json& sums = json.at("last_sums");
  state.last_sums = {sums.at(0).get<double>(), sums.at(1).get<double>(), sums.at(2).get<double>(),
                     sums.at(3).get<double>(), whole_number(sums.at(4), kWhere)};
  state.losses = json.at("losses").get<std::vector<double>>();
  if (!state.losses.empty()) state.last_loss = state.losses.back();
  state.settings = json.at("settings").get<std::map<std::string, std::string>>();
  return state;
}

// A version 1 state does not say whether its step was judged, so going on from it would be a guess.
Json read_state(const std::string& where) {
  Json json = read_json(where);
  const Json version = json.is_object() ? json.value("version", Json(1)) : Json();
  PRUNUS_CHECK(version == kStateVersion, Corrupt, where, ": is a training state of version ",
               version.dump(), ", this program reads version ", kStateVersion,
               "; finish the run with the program that began it, or begin anew: --force without "
               "--resume");
  return json;
}

std::vector<at::Tensor> values_of(const Optimizer& optimizer) {
  std::vector<at::Tensor> values;
  for (const Parameter& parameter : optimizer.parameters()) {
    values.push_back(parameter.value.detach());
  }
  return values;
}

void check_all_finite(const std::vector<at::Tensor>& tensors, const TrainState& state) {
  for (const at::Tensor& one : tensors) {
    if (one.numel() == 0) continue;
    const auto [low, high] = at::aminmax(one);
    PRUNUS_CHECK(std::isfinite(low.item<double>()) && std::isfinite(high.item<double>()), Numeric,
                 "after training step ", state.outcome.steps,
                 " a weight or a state of the optimiser is not finite; lower --lr, or set --clip");
  }
}

void copy_values(const std::vector<at::Tensor>& from, const Optimizer& optimizer,
                 const std::string& where) {
  const at::NoGradGuard no_grad;
  const auto& parameters = optimizer.parameters();
  PRUNUS_CHECK(from.size() >= parameters.size(), Corrupt, where, ": holds ", from.size(),
               " tensors, the model has ", parameters.size(), " trained ones");
  for (size_t i = 0; i < parameters.size(); ++i) {
    at::Tensor value = parameters[i].value;
    PRUNUS_CHECK(from[i].sizes() == value.sizes(), Corrupt, where, ": '", parameters[i].name,
                 "' has shape ", from[i].sizes(), ", expected ", value.sizes());
    value.copy_(from[i]);
  }
}

std::string best_name(int64_t step) { return c10::str("best-", step, ".tensors"); }

// The files that a state needs.
void add_named(std::set<std::string>& named, const Json& json) {
  named.insert(json.at("tensors").get<std::string>());
  if (!json.at("best").is_null()) named.insert(best_name(whole_number(json, "best_step", kWhere)));
  if (json.contains("before")) add_named(named, json.at("before"));
}

}  // namespace

void TrainStateFolder::save(const TrainState& state, const Optimizer& optimizer, bool proven) {
  if (path_.empty()) return;
  Json json = {{"version", kStateVersion}, {"proven", proven}};
  json.update(to_json(state));
  json["tensors"] = c10::str("state-", state.outcome.steps, ".tensors");
  const Json last = holds_state(path_) ? read_state(path_ + kState) : Json();
  if (last.is_object() && last.at("tensors") == json["tensors"]) {
    // These very values are on the disk.
    if (last.at("proven").get<bool>()) json["proven"] = true;
    if (!json["proven"].get<bool>() && last.contains("before")) json["before"] = last["before"];
  } else {
    std::vector<at::Tensor> tensors = values_of(optimizer);
    for (at::Tensor& one : optimizer.state()) tensors.push_back(std::move(one));
    check_all_finite(tensors, state);
    save_durably(path_ + "/" + json["tensors"].get<std::string>(), tensors);
    if (!proven && last.is_object()) {
      const bool good = last.at("proven").get<bool>();
      if (good) json["before"] = last;
      if (!good && last.contains("before")) json["before"] = last["before"];
    }
  }
  write(json);
  proven_ = json["proven"].get<bool>();
}

// Replaces state.json; what it no longer names is removed only when it is on the disk.
void TrainStateFolder::write(const Json& json) const {
  write_file(path_ + kState, json.dump(1) + "\n");
  flush_to_disk(path_);
  std::set<std::string> named;
  add_named(named, json);
  remove_unnamed(std::move(named));
}

void TrainStateFolder::remove_unnamed(std::set<std::string> named) const {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path_, ignored)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.starts_with("state-") || name.starts_with("best-");
    if (ours && !named.contains(name)) fs::remove(entry.path(), ignored);
  }
}

std::optional<TrainState> TrainStateFolder::restore(Optimizer& optimizer) {
  if (!holds_state(path_)) return std::nullopt;
  const std::string where = path_ + kState;
  try {
    const Json json = read_state(where);
    TrainState state = from_json(json);
    const std::string file = path_ + "/" + json.at("tensors").get<std::string>();
    const std::vector<at::Tensor> tensors = load_tensors(file);
    copy_values(tensors, optimizer, file);
    const auto count = static_cast<std::ptrdiff_t>(optimizer.parameters().size());
    optimizer.restore({tensors.begin() + count, tensors.end()});
    PRUNUS_CHECK(!state.best || fs::exists(best_file(state.outcome.best_step)), Corrupt,
                 best_file(state.outcome.best_step), ": is missing, and ", where, " names it");
    proven_ = json.at("proven").get<bool>();
    return state;
  } catch (const nlohmann::json::exception& error) {
    PRUNUS_FAIL(Corrupt, where, ": not the state of a training run: ", error.what(),
                "; begin anew: --force without --resume");
  }
}

std::optional<int64_t> TrainStateFolder::go_back() {
  if (!holds_state(path_)) return std::nullopt;
  Json json = read_state(path_ + kState);
  if (!json.at("proven").get<bool>() && json.contains("before")) {
    json = Json(json["before"]);
    write(json);
  }
  return whole_number(json, "steps", kWhere);
}

std::string TrainStateFolder::best_file(int64_t step) const {
  return path_ + "/" + best_name(step);
}

void TrainStateFolder::keep_best(const Optimizer& optimizer, int64_t step) {
  if (path_.empty()) {
    best_ = values_of(optimizer);
    for (at::Tensor& one : best_) one = one.clone();
    return;
  }
  save_durably(best_file(step), values_of(optimizer));
  std::set<std::string> named{best_name(step)};
  if (holds_state(path_)) add_named(named, read_state(path_ + kState));
  remove_unnamed(std::move(named));
}

void TrainStateFolder::load_best(const Optimizer& optimizer, int64_t step) const {
  const std::string file = path_.empty() ? "the best weights" : best_file(step);
  copy_values(path_.empty() ? best_ : load_tensors(file), optimizer, file);
}

bool TrainStateFolder::holds_state(const std::string& path) {
  return !path.empty() && fs::exists(path + kState);
}

bool is_training_state(const std::string& file_name) { return file_name == "state.json"; }

}  // namespace prunus
