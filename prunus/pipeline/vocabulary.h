#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "prunus/base/json.h"
#include "prunus/model/model.h"
#include "prunus/text/token_trees.h"

namespace prunus {

class RunRecord;
struct Plan;
struct PlanResult;
struct PruneRecipe;

/// The vocabulary of a model beside the text that its user has: what `--structure vocab` goes by.
class VocabularyUse {
 public:
  /// `dir`: SideFiles::dir() of the model. `rows`: of the embedding. `texts`: files, all of whose
  /// text is counted. Shows progress. Throws as TokenTrees, read_documents(); InvalidArgument
  /// where there is no file.
  VocabularyUse(const std::string& dir, int64_t rows, const std::vector<std::string>& texts);

  const TokenTrees& trees() const { return trees_; }
  /// TokenTrees::uses() of the text's tokens, [rows].
  const std::vector<int64_t>& uses() const { return uses_; }
  /// Of each file what describe() says.
  const Json& files() const { return files_; }

  /// Encodes the text once more by the tokenizer in `cut_dir`, which has the tokens `keep` alone.
  /// → {"tokens_before": of the text, "tokens": of it now, "kept": of those before that are still
  /// there, "documents", "unchanged": documents all of whose tokens are}.
  /// Throws OutputCheck where such a document has other ids than before, renumbered.
  Json compare(const std::vector<int64_t>& keep, const std::string& cut_dir) const;

 private:
  TokenTrees trees_;
  std::vector<std::string> documents_;
  std::vector<int64_t> uses_;
  Json files_;
};

/// The text and the tokens of a recipe that removes some, a stage of `record`; null for any other.
/// `dir`: the model's, or its GGUF file. Throws as VocabularyUse.
std::unique_ptr<VocabularyUse> vocabulary_use(const PruneRecipe& recipe, const Model& model,
                                              const std::string& dir,
                                              const std::vector<std::string>& texts,
                                              RunRecord& record);

/// Which tokens stay: as many as the recipe's ratio, target or min_count say, rounded to a
/// multiple of its round_to: up, for a target down. Throws InvalidArgument where fewer would stay
/// than must.
PlanResult vocabulary_plan(const Model& model, const VocabularyUse& use, const PruneRecipe& recipe);

/// What stands beside the weights of a model, without the tokens that a plan drops: a temporary
/// directory that goes with this object.
class CutSideFiles {
 public:
  /// `model`: a directory or a GGUF file. Throws as TokenTrees, TokenTrees::check() and
  /// write_cut_vocabulary().
  CutSideFiles(const std::string& model, int64_t rows, std::vector<int64_t> keep);
  ~CutSideFiles();
  CutSideFiles(const CutSideFiles&) = delete;
  CutSideFiles& operator=(const CutSideFiles&) = delete;

  /// Named as the model is.
  const std::string& dir() const { return dir_; }
  const std::vector<int64_t>& keep() const { return keep_; }
  /// For run.json: {"tokens_before", "tokens", "required", "left_out"}.
  const Json& record() const { return record_; }

 private:
  void remove();

  std::string temporary_;
  std::string dir_;
  std::vector<int64_t> keep_;
  Json record_;
};

/// Those of a plan that drops tokens of `model`; null where all stay. Throws as CutSideFiles.
std::unique_ptr<CutSideFiles> cut_vocabulary(const Plan& plan, const std::string& model);

/// Writes down what became of the tokens, and of the text that they were chosen by where there is
/// one (compare()). Nothing for a null `cut`.
void record_vocabulary(const CutSideFiles* cut, const VocabularyUse* use, RunRecord& record);

}  // namespace prunus
