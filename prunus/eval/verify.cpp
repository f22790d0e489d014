#include "prunus/eval/verify.h"

#include <algorithm>
#include <memory>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/progress.h"
#include "prunus/base/rng.h"
#include "prunus/base/run_schema.h"
#include "prunus/eval/eval_table.h"
#include "prunus/job/last_words.h"
#include "prunus/job/run_record.h"
#include "prunus/model/positions.h"
#include "prunus/text/dataset.h"

namespace prunus {
namespace {

using namespace run_key;
using Ids = std::vector<int64_t>;

constexpr int64_t kDefaultSeqlen = 512;

// The tokenizer of a model; none where its directory has no tokenizer file.
std::unique_ptr<Tokenizer> tokenizer_of(const std::string& dir) {
  try {
    return load_tokenizer(dir);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::NotFound) return nullptr;
    throw;
  }
}

struct Subjects {
  Model first, other;
  std::unique_ptr<Tokenizer> tokenizer, other_tokenizer;
};

Subjects open_both(const VerifyJob& job) {
  return {open_model(job.model_dir), open_model(job.other_dir), tokenizer_of(job.model_dir),
          tokenizer_of(job.other_dir)};
}

std::string text_of(const VerifyJob& job) {
  if (job.data.empty()) return std::string(verify_sample());
  std::string text;
  for (const std::string& document : documents_of(read_text_file(job.data))) {
    text += document + "\n";
  }
  return text;
}

// Where the two tokenizers' ids of the text first differ; null where they never do.
Json first_difference(const Ids& one, const Ids& other) {
  const auto [at, in_other] = std::mismatch(one.begin(), one.end(), other.begin(), other.end());
  if (at == one.end() && in_other == other.end()) return nullptr;
  return at - one.begin();
}

Json compare_tokenizers(const Subjects& both, const std::string& text) {
  const auto ids = [&](const std::unique_ptr<Tokenizer>& tokenizer) {
    return tokenizer == nullptr ? Ids() : encode_with_bos(*tokenizer, text);
  };
  const Ids one = ids(both.tokenizer), other = ids(both.other_tokenizer);
  Json json = {{"tokens", one.size()}, {"other_tokens", other.size()}};
  const bool comparable = both.tokenizer != nullptr && both.other_tokenizer != nullptr;
  json["same_ids"] = comparable ? Json(one == other) : Json(nullptr);
  if (comparable && one != other) json["first_difference"] = first_difference(one, other);
  return json;
}

Ids random_ids(const VerifyJob& job, int64_t vocab) {
  PythonRandom random(job.seed);
  Ids ids;
  for (int64_t i = 0; i < job.tokens; ++i) {
    ids.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(vocab))));
  }
  return ids;
}

Ids ids_of(const VerifyJob& job, const Subjects& both, const std::string& text) {
  const int64_t vocab = std::min(both.first.config().vocab_size, both.other.config().vocab_size);
  if (job.random) return random_ids(job, vocab);
  const Tokenizer* tokenizer =
      both.tokenizer != nullptr ? both.tokenizer.get() : both.other_tokenizer.get();
  PRUNUS_CHECK(tokenizer != nullptr, NotFound, job.model_dir, " and ", job.other_dir,
               ": neither has a tokenizer to make ids of a text; --random compares on drawn ids");
  Ids ids = encode_with_bos(*tokenizer, text);
  if (static_cast<int64_t>(ids.size()) > job.tokens) {
    ids.resize(static_cast<size_t>(job.tokens));
  }
  const auto beyond = std::find_if(ids.begin(), ids.end(), [&](int64_t id) { return id >= vocab; });
  PRUNUS_CHECK(beyond == ids.end(), Corrupt, job.model_dir, ": the tokenizer gives id ",
               beyond == ids.end() ? 0 : *beyond, ", a model's vocabulary has ", vocab);
  return ids;
}

EvalText sequences_of(const Ids& ids, int64_t length) {
  EvalText text;
  text.seqlen = length;
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(length)) {
    const size_t end = std::min(ids.size(), begin + static_cast<size_t>(length));
    if (end - begin < 2) break;  // nothing to predict
    text.sequences.emplace_back(ids.begin() + static_cast<ptrdiff_t>(begin),
                                ids.begin() + static_cast<ptrdiff_t>(end));
  }
  PRUNUS_CHECK(!text.sequences.empty(), InvalidArgument, "verify: ", ids.size(),
               " token ids are too few; at least 2 are needed");
  return text;
}

Json to_json(const LogitComparison& logits) {
  const WorstPlace& worst = logits.worst;
  return {{"tokens", logits.tokens},
          {"ids", logits.ids},
          {"max_abs_diff", logits.max_abs_diff},
          {"mean_abs_diff", logits.mean_abs_diff},
          {"max_abs_logit", logits.max_abs_logit},
          {"max_relative_diff",
           logits.max_abs_logit > 0 ? logits.max_abs_diff / logits.max_abs_logit : 0.0},
          {"mean_kl", logits.mean_kl},
          {"max_kl", logits.max_kl},
          {"top1_agreement", logits.top1_agreement},
          {"nll", logits.nll},
          {"other_nll", logits.other_nll},
          {"worst",
           {{"sequence", worst.sequence},
            {"place", worst.place},
            {"id", worst.id},
            {"logit", worst.logit},
            {"other", worst.other}}}};
}

bool passes(const Json& json, double tolerance) {
  const Json& vocabularies = json.at("vocab_size");
  const Json same = json.contains("tokenizer") ? json.at("tokenizer").at("same_ids") : Json();
  return json.at("max_abs_diff").get<double>() <= tolerance && vocabularies[0] == vocabularies[1] &&
         (same.is_null() || same == true);
}

Json measure(const VerifyJob& job, const Subjects& both) {
  const std::string text = job.random ? std::string() : text_of(job);
  const Ids ids = ids_of(job, both, text);
  const int64_t context =
      std::min(longest_sequence(both.first.config()), longest_sequence(both.other.config()));
  const int64_t length = checked_seqlen(job.seqlen, kDefaultSeqlen, context);
  Json json = to_json(compare_logits({both.first, job.device}, {both.other, job.device},
                                     sequences_of(ids, length)));
  json["seqlen"] = length;
  json["text"] = job.random ? "random" : job.data.empty() ? "own" : job.data;
  if (!job.random) json["text_sha256"] = sha256(text);
  json["vocab_size"] = {both.first.config().vocab_size, both.other.config().vocab_size};
  if (!job.random) json["tokenizer"] = compare_tokenizers(both, text);
  json["passed"] = job.tolerance ? Json(passes(json, *job.tolerance)) : Json(nullptr);
  return json;
}

Json model_json(const Model& model, const std::string& asked, const std::string& dir) {
  Json json = describe_model(model);
  json[kModel] = asked.empty() ? dir : asked;
  json[kSourceFiles] = hash_model_files(dir);
  return json;
}

Json verify(const VerifyJob& job) {
  RunRecord record("verify", options_json(recorded(verify_table, job)));
  record.set_places({{"model", job.model_dir}, {"other", job.other_dir}});
  const Subjects both = record.stage("open", [&] { return open_both(job); });
  record.set(kVerify, record.stage("compare", [&] { return measure(job, both); }));
  record.stage("hash", [&] {
    record.set(kModels, Json::array({model_json(both.first, job.model_asked, job.model_dir),
                                     model_json(both.other, job.other_asked, job.other_dir)}));
  });
  return record.json();
}

}  // namespace

Json run_verify(const VerifyJob& job) {
  PRUNUS_CHECK(!job.random || job.data.empty(), InvalidArgument,
               "--random and --data cannot be given together");
  return with_last_words([] { return std::string(); }, [&] { return verify(job); });
}

}  // namespace prunus
