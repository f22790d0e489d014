#include "prunus/recover/train_state.h"

#include <filesystem>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/calib/stream_store.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;

constexpr const char* kState = "/state.json";
constexpr const char* kBest = "/best.tensors";

Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

std::optional<double> optional_of(const Json& json) {
  if (json.is_null()) return std::nullopt;
  return json.get<double>();
}

Json to_json(const TrainState& state) {
  const TrainOutcome& outcome = state.outcome;
  return {{"steps", outcome.steps},
          {"best_step", outcome.best_step},
          {"stopped_early", outcome.stopped_early},
          {"valid_before", or_null(outcome.valid_before)},
          {"valid_best", or_null(outcome.valid_best)},
          {"valid_last", or_null(outcome.valid_last)},
          {"tokens", outcome.tokens},
          {"targets", outcome.targets},
          {"seconds", outcome.seconds},
          {"best", or_null(state.best)},
          {"worse", state.worse},
          {"last_norm", state.last_norm},
          {"losses", state.losses}};
}

TrainState from_json(const Json& json) {
  TrainState state;
  TrainOutcome& outcome = state.outcome;
  outcome.steps = json.at("steps").get<int64_t>();
  outcome.best_step = json.at("best_step").get<int64_t>();
  outcome.stopped_early = json.at("stopped_early").get<bool>();
  outcome.valid_before = optional_of(json.at("valid_before"));
  outcome.valid_best = optional_of(json.at("valid_best"));
  outcome.valid_last = optional_of(json.at("valid_last"));
  outcome.tokens = json.at("tokens").get<int64_t>();
  outcome.targets = json.at("targets").get<int64_t>();
  outcome.seconds = json.at("seconds").get<double>();
  state.best = optional_of(json.at("best"));
  state.worse = json.at("worse").get<int64_t>();
  state.last_norm = json.at("last_norm").get<double>();
  state.losses = json.at("losses").get<std::vector<double>>();
  if (!state.losses.empty()) state.last_loss = state.losses.back();
  outcome.resumed = true;
  return state;
}

std::vector<at::Tensor> values_of(const Optimizer& optimizer) {
  std::vector<at::Tensor> values;
  for (const Parameter& parameter : optimizer.parameters()) {
    values.push_back(parameter.value.detach());
  }
  return values;
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

}  // namespace

void TrainStateFolder::save(const TrainState& state, const Optimizer& optimizer) const {
  if (path_.empty()) return;
  std::vector<at::Tensor> tensors = values_of(optimizer);
  for (at::Tensor& one : optimizer.state()) tensors.push_back(std::move(one));
  const std::string name = c10::str("state-", state.outcome.steps, ".tensors");
  save_tensors(path_ + "/" + name, tensors);
  Json json = to_json(state);
  json["tensors"] = name;
  write_file(path_ + kState, json.dump(1) + "\n");
  for (const auto& entry : fs::directory_iterator(path_)) {
    const std::string other = entry.path().filename().string();
    const bool old = other.starts_with("state-") && other.ends_with(".tensors") && other != name;
    std::error_code ignored;
    if (old) fs::remove(entry.path(), ignored);
  }
}

std::optional<TrainState> TrainStateFolder::restore(Optimizer& optimizer) const {
  if (!holds_state(path_)) return std::nullopt;
  const std::string where = path_ + kState;
  try {
    const Json json = read_json(where);
    TrainState state = from_json(json);
    const std::string file = path_ + "/" + json.at("tensors").get<std::string>();
    const std::vector<at::Tensor> tensors = load_tensors(file);
    copy_values(tensors, optimizer, file);
    const auto count = static_cast<std::ptrdiff_t>(optimizer.parameters().size());
    optimizer.restore({tensors.begin() + count, tensors.end()});
    return state;
  } catch (const nlohmann::json::exception& error) {
    PRUNUS_FAIL(Corrupt, where, ": not the state of a training run: ", error.what(),
                "; pass --force to start anew");
  }
}

void TrainStateFolder::keep_best(const Optimizer& optimizer) {
  if (!path_.empty()) return save_tensors(path_ + kBest, values_of(optimizer));
  best_ = values_of(optimizer);
  for (at::Tensor& one : best_) one = one.clone();
}

void TrainStateFolder::load_best(const Optimizer& optimizer) const {
  const std::string file = path_ + kBest;
  copy_values(path_.empty() ? best_ : load_tensors(file), optimizer, file);
}

bool TrainStateFolder::holds_state(const std::string& path) {
  return !path.empty() && fs::exists(path + kState);
}

}  // namespace prunus
