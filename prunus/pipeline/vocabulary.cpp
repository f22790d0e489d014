#include "prunus/pipeline/vocabulary.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/base/temporary.h"
#include "prunus/graph/groups.h"
#include "prunus/job/run_record.h"
#include "prunus/model/model_files.h"
#include "prunus/pipeline/prune.h"
#include "prunus/text/cut_vocabulary.h"
#include "prunus/text/dataset.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

const GroupSet& vocabulary_set(const std::vector<GroupSet>& sets) {
  const auto found = std::find_if(
      sets.begin(), sets.end(), [](const GroupSet& set) { return set.label == AxisLabel::Vocab; });
  TORCH_INTERNAL_ASSERT(found != sets.end());
  return *found;
}

// Units that must go so that what there is becomes what is wanted.
int64_t to_free(int64_t there, int64_t wanted, int64_t per_unit) {
  return std::max<int64_t>(0, (there - wanted + per_unit - 1) / per_unit);
}

int64_t wanted_count(const Model& model, const GroupSet& set, const VocabularyUse& use,
                     const PruneRecipe& recipe) {
  if (recipe.min_count) {
    int64_t count = 0;
    for (size_t id = 0; id < use.uses().size(); ++id) {
      if (use.trees().required()[id] || use.uses()[id] >= *recipe.min_count) ++count;
    }
    return count;
  }
  if (recipe.target_params) {
    return set.units -
           to_free(model.parameters(), *recipe.target_params, set.parameters_per_unit());
  }
  if (recipe.target_bytes) {
    return set.units -
           to_free(model.bytes(), *recipe.target_bytes, set.bytes_per_unit(model.source()));
  }
  return set.units -
         static_cast<int64_t>(std::floor(recipe.ratio * static_cast<double>(set.units)));
}

// Up, but a target is no less than what it says.
int64_t rounded_count(int64_t count, const PruneRecipe& recipe, int64_t least, int64_t most) {
  const int64_t multiple = std::max<int64_t>(1, recipe.round_to);
  const int64_t down = count / multiple * multiple;
  if (recipe.has_target() && down >= least) return down;
  return std::min((count + multiple - 1) / multiple * multiple, most);
}

std::string amount_text(const PruneRecipe& recipe, double ratio) {
  return recipe.min_count ? c10::str("used at least ", *recipe.min_count, " times")
                          : c10::str("ratio ", ratio);
}

std::string made_folder() {
  std::string path =
      temporary_folder("free some space there, or set TMPDIR") + "/prunus-vocabulary-XXXXXX";
  PRUNUS_CHECK(::mkdtemp(path.data()) != nullptr, Io, path,
               ": cannot make a temporary folder: ", std::strerror(errno));
  return path;
}

std::string name_of_model(const std::string& model) {
  const std::string name = fs::weakly_canonical(model).filename().string();
  return name.empty() ? "model" : name;
}

}  // namespace

VocabularyUse::VocabularyUse(const std::string& dir, int64_t rows,
                             const std::vector<std::string>& texts)
    : trees_(dir, rows), files_(Json::array()) {
  PRUNUS_CHECK(!texts.empty(), InvalidArgument,
               "--structure vocab keeps the tokens that a text uses: pass --calib FILE (plain "
               "text, or JSON lines with a `text` field) of the kind the model will see");
  for (const std::string& path : texts) {
    const TextFile file = read_text_file(path);
    files_.push_back(describe(file));
    for (std::string& document : documents_of(file)) documents_.push_back(std::move(document));
  }
  std::vector<int64_t> counts(static_cast<size_t>(rows));
  Progress progress("count tokens: documents", static_cast<int64_t>(documents_.size()));
  for (const std::string& document : documents_) {
    for (const int64_t id : trees_.tokenizer().encode(document)) {
      if (id < rows) ++counts[static_cast<size_t>(id)];
    }
    progress.step();
  }
  uses_ = trees_.uses(counts);
}

Json VocabularyUse::compare(const std::vector<int64_t>& keep, const std::string& cut_dir) const {
  const TokenNumbers numbers(trees_.rows(), keep);
  const std::unique_ptr<Tokenizer> cut = load_tokenizer(cut_dir);
  int64_t before = 0;
  int64_t after = 0;
  int64_t kept = 0;
  int64_t unchanged = 0;
  for (const std::string& document : documents_) {
    std::vector<int64_t> ids = trees_.tokenizer().encode(document);
    const std::vector<int64_t> now = cut->encode(document);
    for (int64_t& id : ids) id = numbers.of(id);
    const auto there = static_cast<int64_t>(ids.size()) - std::count(ids.begin(), ids.end(), -1);
    const bool all = there == static_cast<int64_t>(ids.size());
    PRUNUS_CHECK(!all || ids == now, OutputCheck, cut_dir,
                 ": a text of kept tokens alone is encoded otherwise than before; the files are "
                 "not what was meant");
    before += static_cast<int64_t>(ids.size());
    after += static_cast<int64_t>(now.size());
    kept += there;
    unchanged += all ? 1 : 0;
  }
  return {{"tokens_before", before},
          {"tokens", after},
          {"kept", kept},
          {"documents", documents_.size()},
          {"unchanged", unchanged}};
}

std::unique_ptr<VocabularyUse> vocabulary_use(const PruneRecipe& recipe, const Model& model,
                                              const std::string& dir,
                                              const std::vector<std::string>& texts,
                                              RunRecord& record) {
  if (recipe.structure != Structure::Vocab) return nullptr;
  return record.stage("count tokens", [&] {
    return std::make_unique<VocabularyUse>(SideFiles(dir).dir(), model.config().vocab_size, texts);
  });
}

PlanResult vocabulary_plan(const Model& model, const VocabularyUse& use,
                           const PruneRecipe& recipe) {
  const std::vector<GroupSet> sets = find_groups(model);
  const GroupSet& set = vocabulary_set(sets);
  const int64_t required = use.trees().required_count();
  const int64_t wanted = wanted_count(model, set, use, recipe);
  PRUNUS_CHECK(wanted >= required, InvalidArgument, "of ", set.units, " tokens ", wanted,
               " would stay, but ", required,
               " must: bytes or characters that spell any text, special and added tokens, those "
               "that the model's files name; remove fewer");
  const int64_t count = rounded_count(wanted, recipe, required, set.units);
  PlanResult result;
  result.ratio = 1 - static_cast<double>(count) / static_cast<double>(set.units);
  result.plan.method = c10::str("vocabulary, tokens ", amount_text(recipe, result.ratio));
  result.plan.entries.push_back({{AxisLabel::Vocab, -1, use.trees().choose(use.uses(), count)},
                                 set.units,
                                 {use.uses().begin(), use.uses().end()}});
  log_info(c10::str("vocabulary: ", count, " of ", set.units, " tokens stay, ", required,
                    " of them in any case"));
  return result;
}

CutSideFiles::CutSideFiles(const std::string& model, int64_t rows, std::vector<int64_t> keep)
    : keep_(std::move(keep)) {
  const SideFiles side(model);
  const TokenTrees trees(side.dir(), rows);
  trees.check(keep_);
  temporary_ = made_folder();
  dir_ = temporary_ + "/" + name_of_model(model);
  try {
    std::error_code error;
    fs::create_directory(dir_, error);
    PRUNUS_CHECK(!error, Io, dir_, ": cannot create directory: ", error.message());
    const auto left_out = write_cut_vocabulary(side.dir(), TokenNumbers(rows, keep_), dir_);
    for (const std::string& name : left_out) {
      log_warning(name + ": still has every token, so it is left out; tokenizer.json is written");
    }
    record_ = {{"tokens_before", rows},
               {"tokens", keep_.size()},
               {"required", trees.required_count()},
               {"left_out", left_out}};
    load_tokenizer(dir_);
  } catch (...) {
    remove();
    throw;
  }
}

CutSideFiles::~CutSideFiles() { remove(); }

void CutSideFiles::remove() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

std::unique_ptr<CutSideFiles> cut_vocabulary(const Plan& plan, const std::string& model) {
  const PlanEntry* entry = plan.vocabulary();
  if (entry == nullptr) return nullptr;
  return std::make_unique<CutSideFiles>(model, entry->units, entry->keep.units);
}

void record_vocabulary(const CutSideFiles* cut, const VocabularyUse* use, RunRecord& record) {
  if (cut == nullptr) return;
  Json vocabulary = cut->record();
  if (use != nullptr) {
    vocabulary["text"] =
        record.stage("compare tokenizers", [&] { return use->compare(cut->keep(), cut->dir()); });
    vocabulary["text"]["files"] = use->files();
  }
  record.set("vocabulary", std::move(vocabulary));
}

}  // namespace prunus
