#include "prunus/eval/run.h"

#include <cmath>
#include <filesystem>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"
#include "prunus/base/progress.h"
#include "prunus/base/run_schema.h"
#include "prunus/base/temporary.h"
#include "prunus/eval/earlier_evaluation.h"
#include "prunus/eval/eval_table.h"
#include "prunus/eval/top_k_cache.h"
#include "prunus/job/job_options.h"
#include "prunus/job/last_words.h"
#include "prunus/job/run_record.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;
using namespace run_key;

struct Subject {
  const Model& model;
  const Tokenizer& tokenizer;
  at::Device device;
};

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// value and standard error under `key`; null for an error that one unit cannot give.
void put(Json& json, const std::string& key, const Estimate& estimate) {
  json[key] = estimate.value;
  json[key + "_stderr"] = or_null(estimate.standard_error);
}

// A text and what tells it from others.
struct Text {
  EvalText text;
  Json json;
};

Text read_text(const Subject& subject, const std::string& argument,
               const ProtocolOptions& protocol) {
  const TextRequest request = parse_text_request(argument);
  EvalText text = make_eval_text(request, protocol, subject.tokenizer,
                                 subject.model.config().max_position_embeddings);
  Json json = {{kFile, find_text(request, protocol)},
               {"protocol", text.protocol},
               {"rule", name_of_rule(protocol.rule)},
               {"seqlen", text.seqlen},
               {"text_sha256", text.sha256},
               {"dtype", name_of_precision(subject.model.precision())}};
  return {std::move(text), std::move(json)};
}

std::vector<Text> read_texts(const Subject& subject, const EvalJob& job) {
  std::vector<Text> texts;
  for (const std::string& text : job.texts) {
    texts.push_back(read_text(subject, text, job.protocol));
  }
  return texts;
}

void put_documents(Json& json, const DocumentPerplexity& documents) {
  put(json, "word_perplexity", exp_of(documents.nll_per_word));
  put(json, "byte_perplexity", exp_of(documents.nll_per_byte));
  Estimate bits = documents.nll_per_byte;
  bits.value /= std::log(2.0);
  if (bits.standard_error) *bits.standard_error /= std::log(2.0);
  put(json, "bits_per_byte", bits);
}

Json perplexity(const Subject& subject, Text of) {
  const Timer timer;
  auto& [text, json] = of;
  const Perplexity result = score_text({subject.model, subject.device}, text);
  const bool documents = !text.documents.empty();
  const DocumentPerplexity counted =
      documents ? document_perplexity(text, result) : DocumentPerplexity();
  const Estimate nll = documents ? counted.nll_per_token : result.nll_per_token();
  put(json, "ppl", exp_of(nll));
  put(json, "nll_per_token", nll);
  json["tokens"] = result.tokens;
  json["nll_sum"] = result.nll_sum;
  json["sequences"] = text.sequences.size();
  if (documents) {
    json["documents"] = text.documents.size();
    put_documents(json, counted);
  }
  json[kSeconds] = timer.seconds();
  return std::move(json);
}

Json divergence(const Subject& subject, const EvalJob& job) {
  const Timer timer;
  auto [text, json] = read_text(subject, job.kl_text, job.protocol);
  Model dense = open_model(job.dense_dir);
  dense.set_precision(job.precision);
  DivergenceOptions settings = job.divergence;
  if (!settings.cache.empty()) {
    settings.dense_hash = checkpoint_hash(job.dense_dir);
    if (job.precision != at::kFloat)
      settings.dense_hash += std::string(name_of_precision(job.precision));
  }
  const Divergence result =
      measure_divergence({dense, subject.device}, {subject.model, subject.device}, text, settings);
  json["dense"] = job.dense_asked.empty() ? job.dense_dir : job.dense_asked;
  json["tokens"] = result.tokens;
  json["top_k"] = result.top_k;
  json["exact"] = result.exact;
  put(json, "kl_per_token", result.kl);
  put(json, "top1_agreement", result.agreement);
  put(json, "ppl", exp_of(result.model_nll));
  put(json, "dense_ppl", exp_of(result.dense_nll));
  json["cache_reused"] = result.cache_reused;
  json[kSeconds] = timer.seconds();
  return json;
}

std::vector<std::string> texts_of(const EvalJob& job) {
  std::vector<std::string> texts = job.texts;
  if (!job.kl_text.empty()) texts.push_back(job.kl_text);
  return texts;
}

void check_asked(const EvalJob& job) {
  const bool tasks = !job.tasks.names.empty();
  const bool divergence = !job.dense_dir.empty();
  PRUNUS_CHECK(!job.texts.empty() || tasks || divergence, InvalidArgument,
               "nothing to measure; ask for perplexity (--ppl FILE or --ppl wikitext2@128), tasks "
               "(--tasks all --task-dir DIR) or divergence (--kl-to DENSE --text FILE)");
  PRUNUS_CHECK(tasks == !job.tasks.dir.empty(), InvalidArgument,
               "--tasks and --task-dir, the folder of the tasks' files, go together");
  PRUNUS_CHECK(divergence == !job.kl_text.empty(), InvalidArgument,
               "--kl-to DENSE and --text FILE go together");
  PRUNUS_CHECK(divergence || job.divergence.cache.empty(), InvalidArgument,
               "--kl-cache is for --kl-to");
}

// Before hours of tasks, not after them.
void check_texts(const EvalJob& job) {
  for (const std::string& text : texts_of(job)) {
    const std::string path = find_text(parse_text_request(text), job.protocol);
    const std::vector<std::string> names = {"wikitext2", "ptb", "c4"};
    PRUNUS_CHECK(fs::exists(path), NotFound, path, ": no such file",
                 did_you_mean(path.substr(0, path.find_first_of("@=")), names));
  }
  const bool scratch = !job.dense_dir.empty() && job.divergence.cache.empty();
  if (scratch) temporary_folder("name a --kl-cache");
  if (!job.divergence.cache.empty()) check_top_k(job.divergence.cache);
}

// Tells the job's owner when the scoring of tasks begins and ends.
class AroundTasks {
 public:
  explicit AroundTasks(const EvalJob& job) : job_(job) { tell(true); }
  ~AroundTasks() { tell(false); }
  AroundTasks(const AroundTasks&) = delete;
  AroundTasks& operator=(const AroundTasks&) = delete;

 private:
  void tell(bool begins) const {
    if (job_.around_tasks) job_.around_tasks(begins);
  }
  const EvalJob& job_;
};

// Tasks and perplexities, and both as fractions of the earlier evaluation's.
Json figures(const Subject& subject, const EvalJob& job, RunRecord& record) {
  const EarlierEvaluation earlier(job.relative_to);
  std::vector<Text> texts = read_texts(subject, job);
  Json about = Json::array();
  for (const Text& text : texts) about.push_back(text.json);
  earlier.check(job.tasks, about);
  Json json = {{kResults, Json::array()}};
  if (!job.tasks.names.empty()) {
    json[kTasks] = record.stage("tasks", [&] {
      const AroundTasks around(job);
      return to_json(run_tasks(subject.model, subject.tokenizer, subject.device, job.tasks));
    });
  }
  if (!texts.empty()) {
    record.stage("perplexity", [&] {
      for (Text& text : texts) json[kResults].push_back(perplexity(subject, std::move(text)));
    });
  }
  earlier.relate(json);
  return json;
}

Json measure(const EvalJob& job) {
  RunRecord record("eval", options_json(recorded(eval_table, job)));
  record.set_places({{"model", job.model_dir}, {"kl_to", job.dense_dir}});
  Model model = open_model(job.model_dir);
  model.set_precision(job.precision);
  const auto tokenizer = load_tokenizer(job.model_dir);
  const Subject subject{model, *tokenizer, job.device};
  record.set(kModel, job.model_asked.empty() ? job.model_dir : job.model_asked);
  record.set(kParameters, model.parameters());
  const Json measured = figures(subject, job, record);
  for (const auto& [key, value] : measured.items()) record.set(key, value);
  if (!job.dense_dir.empty()) {
    record.set(kKl, record.stage("divergence", [&] { return divergence(subject, job); }));
  }
  record.set(kSource, describe_model(model));
  record.set(kSourceFiles, record.stage("hash", [&] { return hash_model_files(job.model_dir); }));
  return record.json();
}

}  // namespace

void check_job(const EvalJob& job) {
  check_asked(job);
  check_texts(job);
}

std::vector<std::string> inputs_of(const EvalJob& job) {
  std::vector<std::string> inputs = {job.model_dir};
  for (const std::string& one :
       {job.dense_dir, job.relative_to, job.tasks.dir, job.protocol.text_dir}) {
    if (!one.empty()) inputs.push_back(one);
  }
  for (const std::string& text : texts_of(job)) {
    inputs.push_back(find_text(parse_text_request(text), job.protocol));
  }
  return inputs;
}

Json run_eval(const EvalJob& job) {
  check_job(job);
  const auto kept = [&] {
    const std::string& journal = job.tasks.score.journal;
    std::error_code ignored;
    return !journal.empty() && fs::exists(journal, ignored) ? journal : std::string();
  };
  return with_last_words(kept, [&] { return measure(job); });
}

}  // namespace prunus
