#include "prunus/pipeline/run.h"

#include <algorithm>
#include <filesystem>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/progress.h"
#include "prunus/base/quantity.h"
#include "prunus/base/rng.h"
#include "prunus/export/choose.h"
#include "prunus/export/hf_directory.h"
#include "prunus/export/model_output.h"
#include "prunus/io/checkpoint.h"
#include "prunus/io/gguf.h"
#include "prunus/job/output.h"
#include "prunus/job/run_record.h"
#include "prunus/job/work_folder.h"
#include "prunus/model/model_files.h"
#include "prunus/model/positions.h"
#include "prunus/pipeline/masks.h"
#include "prunus/pipeline/plan_state.h"
#include "prunus/pipeline/prune_table.h"
#include "prunus/pipeline/rotate_plan.h"
#include "prunus/pipeline/solve_plan.h"
#include "prunus/pipeline/sparse_plan.h"
#include "prunus/pipeline/vocabulary.h"
#include "prunus/solve/stream_scale.h"
#include "prunus/text/dataset.h"
#include "prunus/text/reference_windows.h"
#include "prunus/text/tokenizer.h"

namespace prunus {
namespace {

// The masks in the folder of a plan, or of an interrupted run.
std::string masks_of(const std::string& folder) { return folder + "/masks"; }

// Layers that a solver has done with.
std::string solved_of(const std::string& folder) { return folder + "/solved"; }

std::vector<std::string> texts_of(const PruneJob& job) {
  if (!job.calib_files.empty() || job.calib_file.empty()) return job.calib_files;
  return {job.calib_file};
}

// What needs text.
std::string learner(const PruneRecipe& recipe) {
  const bool scores = !recipe.names_layers() && recipe.criterion->needs.calibration();
  if (scores) return "method " + recipe.name;
  const Budget& budget = *recipe.budget;
  if (budget.measures || budget.two_stages) return c10::str("--budget ", budget.name);
  return c10::str("--solver ",
                  recipe.solver != nullptr ? recipe.solver->name : recipe.sparse_solver->name);
}

// Windows of each step: fresh ones, drawn as the job asks for.
class Calibration {
 public:
  Calibration(const PruneJob& job, const PruneRecipe& recipe, RunRecord& record)
      : job_(job), recipe_(recipe), random_(recipe.seed) {
    if (!needs_calibration(recipe)) return;
    PRUNUS_CHECK(
        !job.calib_file.empty(), InvalidArgument, learner(recipe),
        " learns from text: pass --calib FILE (plain text, or JSON lines with a `text` field) "
        "of the kind the model will see");
    tokenizer_ = load_tokenizer(job.model_dir);
    const TextFile text = read_text_file(job.calib_file);
    if (recipe.measures()) {
      draw_held_out(text);
    } else {
      for (int64_t step = 0; step < recipe.steps; ++step) windows_.push_back(draw(text, step));
    }
    Json calibration = describe(text);
    calibration["windows"] = windows_.size() == 1 ? Json(windows_[0]) : Json(windows_);
    record.set("calibration", calibration);
  }

  std::vector<TokenBatch> batches(int64_t step) const {
    return windows_.empty() ? std::vector<TokenBatch>()
                            : make_batches(windows_.at(static_cast<size_t>(step)));
  }

  // For a search to judge on.
  std::vector<TokenBatch> held_out() const { return make_batches(held_out_); }

  // What a plan is carried out on: the windows of the first step.
  PlanText text() const {
    return {.file = job_.calib_file,
            .samples = static_cast<int64_t>(windows_.at(0).size()),
            .tokens = job_.calib_tokens,
            .seed = recipe_.seed,
            .windows_sha256 = windows_sha256(windows_.at(0))};
  }

  // Of the windows' ids: text, tokenizer and sampling in one.
  std::string sha256() const { return prunus::sha256(Json(windows_).dump()); }

 private:
  using Windows = std::vector<std::vector<int64_t>>;

  // Windows behind those of the calibration: no id of the text is drawn twice. Of each no more than
  // the beginning, so that they are of several documents.
  void draw_held_out(const TextFile& text) {
    constexpr int64_t kTokens = 2048;
    const int64_t longest = recipe_.budget->measures ? 512 : 128;
    const int64_t length = std::min(longest, job_.calib_tokens);
    const int64_t more = (kTokens + length - 1) / length;
    Windows all = sample_windows(
        *tokenizer_, text,
        {.samples = job_.calib_samples + more, .tokens = job_.calib_tokens, .seed = recipe_.seed});
    held_out_.assign(all.begin() + job_.calib_samples, all.end());
    for (auto& window : held_out_) window.resize(static_cast<size_t>(length));
    all.resize(static_cast<size_t>(job_.calib_samples));
    windows_.push_back(std::move(all));
  }

  // The reference draws on from one generator; otherwise each step has a seed of its own.
  Windows draw(const TextFile& text, int64_t step) {
    if (recipe_.conventions->reference_windows) {
      if (rows_.empty()) rows_ = read_rows(text);
      return sample_reference_windows(*tokenizer_, rows_,
                                      {.samples = job_.calib_samples, .tokens = job_.calib_tokens},
                                      random_);
    }
    return sample_windows(*tokenizer_, text,
                          {.samples = job_.calib_samples,
                           .tokens = job_.calib_tokens,
                           .seed = recipe_.seed + static_cast<uint64_t>(step) * 1'000'003,
                           .fewest = job_.fewest_samples});
  }

  const PruneJob& job_;
  const PruneRecipe& recipe_;
  PythonRandom random_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<std::string> rows_;
  std::vector<Windows> windows_;
  Windows held_out_;
};

// What a resumed run must share with the one it goes on from: the choices, the files, and what
// decides the last bits of a sum.
Json identity_of(const PruneJob& job, const PruneRecipe& recipe, const Calibration& calibration) {
  Json identity = identity_json(recorded(prune_table, job, recipe));
  identity.update(model_identity(job.model_dir, recipe.device));
  identity["windows_sha256"] = calibration.sha256();
  return identity;
}

// Whether what --resume needs may be left on disk: while it takes a quarter of what is free at
// most.
bool states_fit(const PruneJob& job, const PruneRecipe& recipe, const Model& model,
                const std::string& near) {
  const double bytes = static_cast<double>(model.layer_count() + 2) *
                       static_cast<double>(job.calib_samples * job.calib_tokens) *
                       static_cast<double>(model.config().hidden_size) *
                       static_cast<double>(c10::elementSize(recipe.precision));
  std::error_code error;
  const auto space = std::filesystem::space(near, error);
  const bool fits = !error && bytes <= static_cast<double>(space.available) / 4;
  if (!fits) {
    log_info(c10::str("hidden states of this run would take ", bytes / 1e9, " GB of ", near,
                      "; an interrupted run will not be resumable (see --work-dir)"));
  }
  return fits;
}

double fraction(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

// Where a run reads, writes, and says what it did.
struct Output {
  const std::string& model_dir;
  const ModelOutput& target;
  const std::string& form;
  RunRecord& record;
  const CutSideFiles* vocabulary = nullptr;  // where tokens go

  const std::string& staging() const { return target.staging_path(); }
  std::string masks() const { return masks_of(staging()); }
  // From one GGUF file to another the entries that are not the tokenizer's are carried over.
  bool between_files() const { return target.format() == "gguf" && is_gguf_path(model_dir); }
  // What stands beside the weights that are written.
  const std::string& source() const {
    return vocabulary == nullptr || between_files() ? model_dir : vocabulary->dir();
  }
  std::vector<int64_t> tokens() const {
    return vocabulary != nullptr && between_files() ? vocabulary->keep() : std::vector<int64_t>();
  }
};

// Takes over the masks of a plan from the folder of where it was made.
void copy_masks(const std::string& from, const std::string& to) {
  std::error_code error;
  std::filesystem::create_directories(to, error);
  for (const auto& item : std::filesystem::directory_iterator(from)) {
    const std::string name = item.path().filename().string();
    if (!error && is_mask_file(name)) std::filesystem::copy_file(item, to + "/" + name, error);
  }
  PRUNUS_CHECK(!error, Io, to, ": cannot write the masks: ", error.message());
}

// Numbers of the layers that are left; empty: all.
std::vector<int64_t> layers_of(const Plan& plan) {
  for (const PlanEntry& entry : plan.entries) {
    if (entry.keep.label == AxisLabel::Layer) return entry.keep.units;
  }
  return {};
}

void write(const Model& pruned, const Plan& plan, const Output& out) {
  const FormJob job{
      .source = out.source(), .out = out.staging(), .quant = {}, .layers = layers_of(plan)};
  if (out.form.empty()) {
    write_directory(pruned, job,
                    [&](const Json& source) { return rewrite_config(source, pruned.config()); });
  } else {
    choose_form("hf", out.form, pruned.config()).write(pruned, job);
  }
}

// Writes and checks; fills the record. `ids` are the check's tokens.
void execute(const Model& pruned, const Plan& plan, const Output& out, const at::Tensor& ids,
             at::Device device) {
  require_space(out.staging(), static_cast<uint64_t>(pruned.bytes()), "the pruned model");
  if (out.target.format() == "gguf") {
    write_and_check(
        pruned, choose_form("gguf", out.form, pruned.config()), out.target,
        {.source = out.source(), .quant = {}, .layers = layers_of(plan), .tokens = out.tokens()},
        out.record, {.ids = ids, .device = device});
    return;
  }
  out.record.stage("write", [&] { write(pruned, plan, out); });
  const double tolerance =
      out.form.empty() ? 1e-5 : choose_form("hf", out.form, pruned.config()).tolerance;
  const OutputCheck check = out.record.stage(
      "check", [&] { return check_output(pruned, out.staging(), ids, device, tolerance); });
  out.record.set("output_check", to_json(check));
}

Json mask_json(const PlanMask& mask, const MaskSummary& summary) {
  return {{"pattern", pattern_name(mask.pattern)},
          {"sparsity", mask.sparsity},
          {"weights", summary.weights},
          {"zeros", summary.zeros}};
}

void finish(const Model& model, const Model& pruned, const Plan& plan, const Output& out,
            bool weights_written) {
  RunRecord& record = out.record;
  record.set("source", describe_model(model));
  record.stage("hash", [&] { record.set("source_files", hash_model_files(out.model_dir)); });
  record.set("result", describe_model(pruned));
  record.set("forms", legality_table(pruned.config()));
  record.set("parameters_removed", 1.0 - fraction(pruned.parameters(), model.parameters()));
  if (plan.mask) {
    const MaskSummary summary = count_masks(pruned, mask_files(pruned, out.masks()));
    record.set("mask", mask_json(*plan.mask, summary));
  }
  if (weights_written) record.set("result_files", hash_model_files(out.target.model_path()));
  write_file(out.staging() + "/plan.json", to_json(plan).dump() + "\n");
  record.write(out.staging());
}

// Sets that keep all their units although a ratio above 0 was asked of them.
std::vector<std::string> untouched(const PlanResult& planned, const PruneRecipe& recipe) {
  const bool solved = recipe.has_target();
  std::vector<std::string> names;
  for (const PlanEntry& entry : planned.plan.entries) {
    if (numbers_layers(entry.keep.label)) continue;
    const GroupSet set{.label = entry.keep.label, .layer = entry.keep.layer};
    const double ratio = solved ? planned.ratio : ratio_of(set, recipe);
    const bool whole = static_cast<int64_t>(entry.keep.units.size()) == entry.units;
    if (whole && ratio > 0) names.push_back(set.name());
  }
  return names;
}

void note_untouched(const PlanResult& planned, const PruneRecipe& recipe, RunRecord& record) {
  const std::vector<std::string> names = untouched(planned, recipe);
  if (names.empty()) return;
  record.set("untouched", names);
  if (names.size() < planned.plan.entries.size()) return;
  const std::string rounding =
      recipe.round_to <= 1
          ? ""
          : c10::str(", or --round-to ", recipe.round_to, " keeps more than there are: lower it");
  log_warning(c10::str("nothing at all is removed: the ratio is less than one unit of every set",
                       rounding, "; the result is the model as it was"));
}

void settle_windows(PruneJob& job, const Model& model) {
  if (!job.tokens_by_default) return;
  job.calib_tokens = std::min(job.calib_tokens, longest_sequence(model.config()));
}

// As `eval --seqlen`: beyond its context a model has learned nothing.
void check_windows(const PruneJob& job, const PruneRecipe& recipe, const Model& model) {
  const int64_t context = longest_sequence(model.config());
  PRUNUS_CHECK(!needs_calibration(recipe) || job.calib_tokens <= context, InvalidArgument,
               "--calib-tokens ", job.calib_tokens, " is beyond the model's context of ", context,
               " tokens");
}

// Hours may lie between here and writing. What cannot hold the model now will not hold what is left
// of it, but for `stock`: a second cut may bring back what stock keys can say.
// A GGUF file needs some form at least.
void check_form(const ModelOutput& out, const std::string& form, const Model& model) {
  if (form == "stock" || (form.empty() && out.format() == "hf")) return;
  choose_form(out.format(), form, model.config());
}

// How much text decides, and what more of it would bring where that was measured
// (docs/methods.md).
void say_text(const PlanText& text, const PruneRecipe& recipe) {
  const bool gradients = !recipe.names_layers() && recipe.criterion->needs.in(Pass::Backward);
  log_info(c10::str("calibrates on ", text.samples, " windows of ", text.tokens, " tokens, ",
                    text.samples * text.tokens, " in all",
                    gradients ? "; gradients of SmolLM2-135M at half its parameters: 640 tokens "
                                "left a perplexity of 247 to 399, 16 thousand 183, 65 thousand "
                                "177 (more: --calib-samples)"
                              : ""));
}

PruneRecipe resolved(const PruneJob& job, const Model& model) {
  PruneOptions options = job.options;
  if (!job.target_params.empty()) {
    options.target_params = parse_target(job.target_params, model.parameters(), "--target-params");
  }
  if (!job.target_bytes.empty()) {
    options.target_bytes = parse_bytes(job.target_bytes, "--target-bytes");
  }
  if (!job.target_latency.empty()) {
    options.target_latency = parse_share(job.target_latency, "--target-latency");
  }
  return resolve(options, model.layer_count());
}

std::unique_ptr<WorkFolder> work_folder(const PruneJob& job, const PruneRecipe& recipe,
                                        const Model& model, const Calibration& calibration,
                                        const std::string& staging) {
  std::error_code error;
  if (!job.work_dir.empty()) std::filesystem::create_directories(job.work_dir, error);
  PRUNUS_CHECK(!error, Io, job.work_dir, ": cannot create directory: ", error.message());
  return std::make_unique<WorkFolder>(WorkFolder::Options{
      .path = work_path(job.out_dir, job.work_dir),
      .identity = identity_of(job, recipe, calibration).dump(2),
      .resume = job.resume,
      .force = job.force,
      .resumable = states_fit(job, recipe, model, job.work_dir.empty() ? staging : job.work_dir),
      .is_state = is_plan_state});
}

// Plans, and leaves the state of an interrupted run in the work folder.
PlanResult plan_in(const WorkFolder& work, const PruneJob& job, const Model& model,
                   const Calibration& calibration, const PruneRecipe& recipe) {
  const int64_t ram = job.ram.empty() ? -1 : parse_bytes(job.ram, "--ram");
  PlanContext context =
      plan_context(work, ram, [&](int64_t step) { return calibration.batches(step); });
  context.held_out = [&] { return calibration.held_out(); };
  return plan_by(model, context, recipe);
}

// The first window of the calibration, cut to 64 tokens; drawn ids where there is none.
at::Tensor check_ids(const std::vector<TokenBatch>& batches, const ModelConfig& config) {
  if (batches.empty()) return probe_ids(config);
  const at::Tensor& ids = batches[0].ids;
  return ids.narrow(0, 0, 1).narrow(1, 0, std::min<int64_t>(64, ids.size(1)));
}

// What the weights take at least, whatever will be chosen.
void check_space(const PruneJob& job, const PruneRecipe& recipe, const Model& model,
                 const std::string& staging) {
  if (job.dry_run) return;
  double kept = 0;
  if (recipe.target_bytes) {
    kept = static_cast<double>(*recipe.target_bytes);
  } else if (recipe.structure == Structure::Vocab || recipe.structure == Structure::Part) {
    kept = 0;  // execute() knows
  } else if (recipe.structure == Structure::Weight) {
    kept = static_cast<double>(model.bytes());
  } else if (recipe.structure != Structure::Layer) {
    const double most = std::max({recipe.ratio, recipe.attn_ratio, recipe.ffn_ratio});
    kept = (1 - most) * static_cast<double>(model.bytes());
  }
  require_space(staging, static_cast<uint64_t>(std::max(0.0, kept)), "the pruned model");
}

Json prune_into(const PruneJob& job, const PruneRecipe& recipe, const Model& model,
                const Calibration& calibration, WorkFolder* work, Output out) {
  RunRecord& record = out.record;
  const auto use = vocabulary_use(recipe, model, job.model_dir, texts_of(job), record);
  PlanResult planned = record.stage("plan", [&] {
    return work != nullptr
               ? plan_in(*work, job, model, calibration, recipe)
               : plan_by(model, {.mask_dir = out.masks(), .vocabulary = use.get()}, recipe);
  });
  const auto vocabulary = cut_vocabulary(planned.plan, job.model_dir);
  out.vocabulary = vocabulary.get();
  record_vocabulary(vocabulary.get(), use.get(), record);
  if (planned.plan.mask && work != nullptr) copy_masks(masks_of(work->path()), out.masks());
  planned.plan.config_sha256 = model_config_sha256(job.model_dir);
  record.set("ratio", planned.ratio);
  if (!planned.search.empty()) record.set("search", Json::parse(planned.search));
  note_untouched(planned, recipe, record);
  if (work != nullptr && !recipe.method->rotates && recipe.sparse_solver == nullptr)
    record.set("calibration_loss", planned.calibration_loss);
  if (work != nullptr && work->resumed()) record.set("resumed", true);
  if (recipe.solver != nullptr) {
    planned.plan.solver = {.name = std::string(recipe.solver->name),
                           .options = recipe.solver_options,
                           .calibration = calibration.text(),
                           .precision = recipe.precision};
  }
  if (planned.plan.rotation) planned.plan.rotation->calibration = calibration.text();
  if (planned.plan.sparse) planned.plan.sparse->calibration = calibration.text();
  const Model cut = result_of(model, planned.plan, out.masks());
  const RotatedModel turned =
      turn_stream(cut, planned.plan, record, recipe.device, [&] { return calibration.batches(0); });
  SolvedModel solved;
  if (recipe.solver != nullptr && !job.dry_run) {
    solved = record.stage("solve", [&] {
      return solve_by_plan(model, cut, planned.plan, calibration.batches(0), recipe.device,
                           solved_of(work->path()));
    });
    record.set("solver", solver_json(*planned.plan.solver, solved));
  }
  SparseModel sparse;
  if (planned.plan.sparse && !job.dry_run) {
    sparse = fill_with_zeros(model, planned.plan, record, recipe.device, solved_of(work->path()),
                             [&] { return calibration.batches(0); });
  }
  const Model& pruned = sparse.model   ? *sparse.model
                        : solved.model ? *solved.model
                        : turned.model ? *turned.model
                                       : cut;
  const std::string_view format = out.target.format();
  if (!job.form.empty() || format == "gguf") choose_form(format, job.form, pruned.config());
  if (!job.dry_run) {
    execute(pruned, planned.plan, out, check_ids(calibration.batches(0), pruned.config()),
            recipe.device);
  }
  finish(model, pruned, planned.plan, out, !job.dry_run);
  return record.json();
}

}  // namespace

Json run_prune(const PruneJob& asked) {
  PruneJob job = asked;
  std::vector<std::string> inputs = texts_of(job);
  inputs.insert(inputs.end(), {job.model_dir, work_path(job.out_dir, job.work_dir)});
  ModelOutput out({.path = job.out_dir, .replace = job.force, .inputs = std::move(inputs)});
  const Model model = open_model(job.model_dir);
  const PruneRecipe recipe = resolved(job, model);
  settle_windows(job, model);
  check_space(job, recipe, model, out.staging_path());
  check_windows(job, recipe, model);
  if (recipe.solver != nullptr && recipe.solver->scales_stream) check_stream_scale(model);
  check_form(out, job.form, model);
  RunRecord record("prune", options_json(recorded(prune_table, job, recipe)));
  record.set_places({{"model", job.model_dir}});
  std::unique_ptr<WorkFolder> work;
  return with_last_words(work, [&] {
    const Calibration calibration =
        record.stage("calibration text", [&] { return Calibration(job, recipe, record); });
    if (needs_calibration(recipe)) {
      say_text(calibration.text(), recipe);
      work = work_folder(job, recipe, model, calibration, out.staging_path());
    }
    const Json result = prune_into(job, recipe, model, calibration, work.get(),
                                   {job.model_dir, out, job.form, record});
    out.commit();
    if (work) work->discard();
    return result;
  });
}

Json prune_options(const PruneJob& asked) {
  PruneJob job = asked;
  const Model model = open_model(job.model_dir);
  const PruneRecipe recipe = resolved(job, model);
  settle_windows(job, model);
  return options_json(recorded(prune_table, job, recipe));
}

Json run_apply(const ApplyJob& job) {
  RunRecord record("apply", options_json(recorded(apply_table, job)));
  record.set_places({{"model", job.model_dir}});
  const std::string masks =
      masks_of(std::filesystem::absolute(job.plan_file).parent_path().string());
  ModelOutput out(
      {.path = job.out_dir, .replace = job.force, .inputs = {job.model_dir, job.plan_file, masks}});
  const Model model = open_model(job.model_dir);
  const Plan plan = plan_from_json(read_json(job.plan_file), job.plan_file);
  check_plan(plan, model);
  if (!plan.config_sha256.empty() && plan.config_sha256 != model_config_sha256(job.model_dir)) {
    log_warning(
        job.plan_file +
        ": the plan was made for a model with another config.json; sizes fit, so it is applied");
  }
  return with_last_words(nullptr, [&] {
    const auto vocabulary = cut_vocabulary(plan, job.model_dir);
    const Output to{job.model_dir, out, job.form, record, vocabulary.get()};
    record_vocabulary(vocabulary.get(), nullptr, record);
    const Model cut = result_of(model, plan, masks);
    if (plan.mask) copy_masks(masks, to.masks());
    const RotatedModel turned = turn_stream(cut, plan, record, job.device, [&] {
      return rows_of(plan.rotation->calibration, job.calib_file, job.model_dir);
    });
    SolvedModel solved;
    const std::string folder = solved_of(to.staging());
    if (plan.solver) {
      solved = record.stage("solve", [&] {
        return solve_by_plan(model, cut, plan,
                             rows_of(plan.solver->calibration, job.calib_file, job.model_dir),
                             job.device, folder);
      });
      record.set("solver", solver_json(*plan.solver, solved));
    }
    SparseModel sparse;
    if (plan.sparse) {
      sparse = fill_with_zeros(model, plan, record, job.device, folder, [&] {
        return rows_of(plan.sparse->calibration, job.calib_file, job.model_dir);
      });
    }
    const Model& pruned = sparse.model   ? *sparse.model
                          : solved.model ? *solved.model
                          : turned.model ? *turned.model
                                         : cut;
    execute(pruned, plan, to, probe_ids(pruned.config()), job.device);
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    finish(model, pruned, plan, to, true);
    out.commit();
    return record.json();
  });
}

}  // namespace prunus
