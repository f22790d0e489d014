#include "prunus/adapter/lora_targets.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "prunus/adapter/peft_modules.h"
#include "prunus/base/error.h"
#include "prunus/base/nearest.h"
#include "prunus/base/progress.h"
#include "prunus/io/quote.h"
#include "prunus/model/layout.h"
#include "prunus/text/python_regex.h"

namespace prunus {
namespace {

constexpr Role kRoles[] = {
    Role::QProj,  Role::KProj,    Role::VProj,          Role::OProj,        Role::GateProj,
    Role::UpProj, Role::DownProj, Role::SharedGateProj, Role::SharedUpProj, Role::SharedDownProj};
constexpr const char* kOption = "--lora-targets";

std::vector<std::string> split_names(const std::string& text) {
  std::vector<std::string> names;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    names.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return names;
}

bool is_regex(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) == 0 && c != '_' && c != '.' && c != ',' && c != '-';
  });
}

const Role* role_of(const std::string& name) {
  return std::find_if(std::begin(kRoles), std::end(kRoles),
                      [&](Role role) { return role_name(role) == name; });
}

class Targets {
 public:
  explicit Targets(const Model& model) : model_(model), modules_(peft_modules(model)) {}

  void add_role(Role role) {
    for (const TensorInfo& tensor : model_.tensors()) {
      if (tensor.spec->role == role) add(tensor);
    }
  }

  template <typename Test>
  void add_modules(const Test& named) {
    for (const PeftModule& module : modules_) {
      if (!named(module.path)) continue;
      for (const TensorInfo* part : module.parts) {
        if (part->spec->rank == 2) add(*part);
      }
    }
  }

  void add_name(const std::string& name) {
    const size_t before = seen();
    const Role* role = role_of(name);
    if (role != std::end(kRoles)) {
      add_role(*role);
    } else {
      add_modules([&](const std::string& path) { return ends_in(path, name); });
    }
    PRUNUS_CHECK(seen() > before, InvalidArgument, kOption, " ", quote(name),
                 role != std::end(kRoles) ? " is no weight of this model" : " is not known",
                 "; known: ", join(known()), ", or a regular expression for a module's whole path",
                 did_you_mean(name, known()));
  }

  std::vector<std::pair<int, Role>> result(const std::string& text) const {
    PRUNUS_CHECK(seen() > 0, InvalidArgument, kOption, " ", quote(text),
                 " matches no module of this model; known: ", join(known()));
    PRUNUS_CHECK(!places_.empty() || experts_.empty(), Unsupported, kOption, " ", quote(text),
                 " means experts only. An adapter belongs to one tensor of the file, and the "
                 "experts' ",
                 join(experts_), " are several tensors each; known: ", join(known()));
    PRUNUS_CHECK(!places_.empty(), Unsupported, kOption, " ", quote(text), " means ", join(others_),
                 ", which get no adapters; known: ", join(known()));
    if (!experts_.empty()) {
      log_info(c10::str("adapters: the experts' ", join(experts_),
                        " get none, since each is several tensors of the file"));
    }
    return {places_.begin(), places_.end()};
  }

 private:
  size_t seen() const { return places_.size() + experts_.size() + others_.size() + again_; }

  void add(const TensorInfo& weight) {
    const Role role = weight.spec->role;
    if (!is_lora_role(role)) {
      note(others_, role);
    } else if (weight.stored.experts > 0) {
      note(experts_, role);
    } else if (!places_.insert({weight.layer, role}).second) {
      ++again_;
    }
  }
  void note(std::vector<std::string>& names, Role role) {
    ++again_;
    if (std::find(names.begin(), names.end(), role_name(role)) == names.end()) {
      names.push_back(role_name(role));
    }
  }

  static std::string join(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
  }

  // Roles first, then what else the family calls its modules.
  std::vector<std::string> known() const {
    std::vector<std::string> names = {"all"};
    const auto list = [&](const std::string& name) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    };
    const auto possible = [](const TensorInfo& tensor) {
      return is_lora_role(tensor.spec->role) && tensor.stored.experts == 0;
    };
    for (const TensorInfo& tensor : model_.tensors()) {
      if (possible(tensor)) list(role_name(tensor.spec->role));
    }
    for (const PeftModule& module : modules_) {
      if (possible(*module.parts[0])) list(module.path.substr(module.path.rfind('.') + 1));
    }
    return names;
  }

  const Model& model_;
  std::vector<PeftModule> modules_;
  std::set<std::pair<int, Role>> places_;
  std::vector<std::string> experts_;  // roles that were left out, and why
  std::vector<std::string> others_;
  size_t again_ = 0;
};

}  // namespace

bool is_lora_role(Role role) {
  return std::find(std::begin(kRoles), std::end(kRoles), role) != std::end(kRoles);
}

std::vector<std::pair<int, Role>> lora_targets(const Model& model, const std::string& text) {
  Targets targets(model);
  if (text == "all") {
    for (const Role role : kRoles) targets.add_role(role);
  } else if (is_regex(text)) {
    const text::PythonRegex pattern(text, kOption);
    targets.add_modules([&](const std::string& path) { return pattern.matches_all(path); });
  } else {
    std::set<std::string> names;
    for (const std::string& name : split_names(text)) {
      PRUNUS_CHECK(names.insert(name).second, InvalidArgument, kOption, " ", quote(text), " names ",
                   name, " twice");
      targets.add_name(name);
    }
  }
  return targets.result(text);
}

}  // namespace prunus
