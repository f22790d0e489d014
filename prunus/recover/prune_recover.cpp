#include "prunus/recover/prune_recover.h"

#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/progress.h"
#include "prunus/base/run_schema.h"
#include "prunus/base/staged_directory.h"
#include "prunus/io/gguf.h"
#include "prunus/job/run_record.h"
#include "prunus/job/work_folder.h"
#include "prunus/model/matmul.h"
#include "prunus/model/model.h"
#include "prunus/model/positions.h"
#include "prunus/recover/recover.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kAfterRowTokens = 256;  // where the context allows
constexpr int64_t kAfterBatchRows = 8;

constexpr const char* kGroup = "Recovery in the same run";

constexpr Option<RecoverAfter> kRecoverAfterOptions[] = {
    {.info = {.key = "recover",
              .group = kGroup,
              .help = "then distil: all weights of the pruned model learn MODEL's distribution, as "
                      "`prunus recover --full --teacher MODEL` does; takes 16 bytes of memory a "
                      "parameter",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(RecoverAfter, on)},
    {.info =
         {.key = "recover-tokens",
          .group = kGroup,
          .help =
              "tokens to learn from, in steps of 8 rows of 256 (or the context); more is better",
          .range = kPositive,
          .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(RecoverAfter, tokens)},
    {.info = {.key = "recover-data",
              .group = kGroup,
              .help = "their text, as `prunus recover --data` takes it (default: that of --calib)",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(RecoverAfter, data)}};

void check_job(const PruneJob& job, const std::string& data) {
  PRUNUS_CHECK(!job.dry_run, InvalidArgument,
               "--recover trains a model, --dry-run writes none; leave one of them out");
  PRUNUS_CHECK(job.form.empty() || job.form == "stock", InvalidArgument, "--form ", job.form,
               " and --recover: what is trained is written as a model directory; leave --form out, "
               "and run `prunus export` on the result");
  PRUNUS_CHECK(!is_gguf_path(job.out_dir), InvalidArgument, job.out_dir,
               ": --recover writes a model directory; give --out a directory, and run `prunus "
               "export` on it for a GGUF file");
  PRUNUS_CHECK(job.options.structure != Structure::Vocab, InvalidArgument,
               "--recover: the model has another vocabulary than the one with fewer tokens, which "
               "cannot learn from it; run `prunus recover` without --teacher on the result");
  PRUNUS_CHECK(!data.empty(), InvalidArgument,
               "--recover learns from text: pass --recover-data FILE, or --calib FILE");
  PRUNUS_CHECK(data != job.calib_file || !fs::exists(data) || fs::is_regular_file(data),
               InvalidArgument, "--calib ", data,
               ": is a pipe, which can be read once, but --recover reads the text again; write it "
               "to a file, or pass --recover-data FILE");
}

// Beside OUT.work.
std::string pruned_path(const PruneJob& job) {
  const fs::path work = work_path(job.out_dir, job.work_dir);
  return (work.parent_path() / work.stem()).string() + ".pruned";
}

// What decides how the pruned model came out.
Json origin_of(const Json& options, const Json& source_files, const std::string& text_sha256) {
  Json origin = options;
  for (const char* path : {"model", "out", "calib", "device"}) origin.erase(path);
  origin["model files"] = source_files;
  origin["text"] = text_sha256;
  return origin;
}

// The first key in which two objects differ; empty: none.
std::string difference(const Json& one, const Json& other) {
  for (const auto& [key, value] : one.items()) {
    if (!other.contains(key) || other.at(key) != value) return key;
  }
  for (const auto& [key, value] : other.items()) {
    if (!one.contains(key)) return key;
  }
  return "";
}

// The record of the pruned model that an interrupted run left; null where there is none.
Json earlier(const PruneJob& job, const std::string& pruned) {
  const std::string file = pruned + "/run.json";
  if (!fs::exists(file) || job.force) return nullptr;
  PRUNUS_CHECK(job.resume, InvalidArgument, pruned,
               ": is the pruned model of an interrupted run; --resume goes on with it, --force "
               "begins anew");
  Json record = read_json(file);
  check_run(record, file);
  const auto hash = [](const Json& of) {
    return of.contains("calibration") ? of.at("calibration").value("sha256", "") : "";
  };
  const std::string text = job.calib_file.empty() ? "" : sha256_file(job.calib_file);
  const Json before =
      origin_of(record.at(run_key::kOptions), record.at(run_key::kSourceFiles), hash(record));
  const Json now = origin_of(prune_options(job), hash_model_files(job.model_dir),
                             hash(record).empty() ? "" : text);
  const std::string differs = difference(before, now);
  PRUNUS_CHECK(differs.empty(), InvalidArgument, file,
               ": the pruned model is of another run, with '", differs, "' ",
               before.value(differs, Json()).dump(), ", here ", now.value(differs, Json()).dump(),
               "; --force begins anew");
  log_info(pruned + ": pruned by the run that was interrupted; going on behind that");
  return record;
}

Json pruned_by(const PruneJob& job, const std::string& pruned) {
  if (Json record = earlier(job, pruned); !record.is_null()) return record;
  PruneJob first = job;
  first.out_dir = pruned;
  return run_prune(first);
}

bool multiplies_halves(at::Device device) {
  return device.is_cuda() || name_of_half_products() == "native";
}

RecoverJob second_of(const PruneJob& job, const RecoverAfter& after, const std::string& data) {
  RecoverJob next = recover_defaults(RecoverMode::Full, "");
  next.out_dir = job.out_dir;
  next.data = data;
  next.teacher_dir = job.model_dir;
  next.teacher_asked = job.model_asked;
  next.work_dir = job.work_dir;
  const int64_t context = longest_sequence(open_model(job.model_dir).config());
  next.rows.row_tokens = std::min(kAfterRowTokens, context);
  next.trainer.batch_rows = kAfterBatchRows;
  next.trainer.loss.kl = 1.0;
  next.trainer.loss.ce = 0.1;
  const int64_t step = next.rows.row_tokens * kAfterBatchRows;
  next.max_steps = (after.tokens + step - 1) / step;
  if (multiplies_halves(job.options.device)) next.model.compute = at::kBFloat16;
  next.device = job.options.device;
  next.seed = job.options.seed;
  next.resume = job.resume;
  next.force = job.force;
  next.recipe = job.recipe;
  return next;
}

void settle(RecoverAfter& after, const Given& given) {
  if (after.on) return;
  for (const char* key : {"recover-tokens", "recover-data"}) {
    const GivenValue* value = given.find(key);
    PRUNUS_CHECK(value == nullptr, InvalidArgument, value->where,
                 " is for --recover, which is not given");
  }
}

}  // namespace

const OptionTable<RecoverAfter> recover_after_table{.command = "prune",
                                                    .options = kRecoverAfterOptions,
                                                    .fresh = +[] { return RecoverAfter(); },
                                                    .settle = settle};

Json run_prune_recover(const PruneJob& job, const RecoverAfter& after) {
  const std::string& data = after.data.empty() ? job.calib_file : after.data;
  check_job(job, data);
  RecoverJob next = second_of(job, after, data);
  const std::string pruned = pruned_path(job);
  if (data != "self") next.texts->open(data);  // what cannot be read is known now
  {
    const StagedDirectory place(
        {.path = job.out_dir, .replace = job.force, .inputs = {job.model_dir, data, pruned}});
  }
  next.made_by = pruned_by(job, pruned);
  next.model_dir = pruned;
  Json record = run_recover(std::move(next));
  std::error_code ignored;
  fs::remove_all(pruned, ignored);
  return record;
}

}  // namespace prunus
