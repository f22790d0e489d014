#pragma once
#include <string>

#include "prunus/base/json.h"
#include "prunus/model/model.h"

namespace prunus {

/// A model to look at; only its shapes are used.
struct InspectedModel {
  Model model;
  std::string path;          ///< as given by the user
  std::string dtype;         ///< "BF16"; "BF16, F32" where several; "16 bit" where assumed
  std::string dtype_source;  ///< "weights", "gguf", "config.json", or "assumed"
};

/// Opens what `path` names: a model directory (its weights are checked as by open_model), a
/// directory with config.json and no *.safetensors, or a config.json itself (weights beside it are
/// not looked at). Without weights, their dtype is what config.json says, else 16 bit is assumed.
/// Throws as open_model; Corrupt where config.json asks for the sizes of no model.
InspectedModel open_for_inspection(const std::string& path);

/// What a model of these shapes is: sizes, parameters by role, layers, groups, MACs, memory.
/// docs/inspect.md lists the fields and formulas. Reads no weight.
/// Throws Corrupt where the sizes are those of no model.
Json inspect(const InspectedModel& inspected);

/// The same of what `path` names, as run.json's content: what `prunus inspect --json` prints.
/// Throws as the two above.
Json run_inspect(const std::string& asked);

}  // namespace prunus
