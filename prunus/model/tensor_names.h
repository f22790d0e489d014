#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "prunus/model/family.h"

namespace prunus {

/// What the tensors of a family's table are called in a checkpoint. Beside the table's own names
/// these are known: those of the model without its head (no "model." or "transformer." in front, as
/// a base class saves itself), and names with what a wrapper left in them: "module." of data
/// parallelism, "_orig_mod." of torch.compile, "base_model.model." and ".base_layer" of PEFT.
class TensorNames {
 public:
  TensorNames() = default;
  /// Of a checkpoint that holds tensors of these names. `multimodal`: the model is the language
  /// model of a multimodal one (model/text_part.h), whose other parts are passed over.
  /// Throws Corrupt where two of them stand for the same tensor of the table.
  TensorNames(const std::vector<std::string>& stored, const Family& family, const std::string& dir,
              bool multimodal = false);

  /// The name in the checkpoint, which need not have it.
  std::string in_file(const std::string& name) const;
  /// From now on `name` is read from what `other` is called in the checkpoint.
  void substitute(const std::string& name, const std::string& other);
  /// What wrappers left, in words: "module., _orig_mod."; empty where nothing.
  const std::string& wrappers() const { return wrappers_; }
  /// Names in the checkpoint of tensors of other parts of a multimodal model.
  const std::set<std::string>& passed_over() const { return passed_over_; }

 private:
  std::string unwrapped(std::string name, std::set<std::string>& found) const;

  std::map<std::string, std::string> stored_;  // the table's name → the checkpoint's, if another
  std::string wrappers_;
  std::set<std::string> passed_over_;
};

}  // namespace prunus
