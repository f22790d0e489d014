#include "prunus/base/run_schema.h"

#include <algorithm>
#include <array>
#include <span>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

namespace prunus {
namespace {

using namespace run_key;

enum class Kind { Word, Whole, Number, Truth, List, Object };

enum class Presence { Always, Maybe, MaybeNull };  // MaybeNull: there, but null is allowed

/// One key. `inner`: those of an object, or of every object of a list.
struct Field {
  const char* key;
  Kind kind;
  Presence presence = Presence::Always;
  std::span<const Field> inner = {};
};

constexpr Presence kMaybe = Presence::Maybe;
constexpr Presence kOrNull = Presence::MaybeNull;

constexpr Field kStageFields[] = {
    {kName, Kind::Word}, {kSeconds, Kind::Number}, {kPeakMemoryBytes, Kind::Whole}};
constexpr Field kHead[] = {
    {kFormat, Kind::Word},           {kVersion, Kind::Whole},
    {kPrunus, Kind::Word},           {kCommand, Kind::Word},
    {kOptions, Kind::Object},        {kThreads, Kind::Whole},
    {kMatmul, Kind::Word, kMaybe},   {kHalfProducts, Kind::Word, kMaybe},
    {kPlaces, Kind::Object, kMaybe}, {kStages, Kind::List, Presence::Always, kStageFields},
    {kPeakMemoryBytes, Kind::Whole}};

constexpr Field kFileFields[] = {{kFile, Kind::Word}, {kBytes, Kind::Whole}, {kSha256, Kind::Word}};
constexpr Field kSizes[] = {{kParameters, Kind::Whole},
                            {kBytes, Kind::Whole},
                            {kMacs, Kind::Number},
                            {kMacsLlmPruner, Kind::Number},
                            {"hidden_size", Kind::Whole},
                            {"num_hidden_layers", Kind::Whole},
                            {"head_dim", Kind::Whole},
                            {"num_attention_heads", Kind::List},
                            {"num_key_value_heads", Kind::List},
                            {"intermediate_size", Kind::List}};
constexpr Field kCheck[] = {
    {"tokens", Kind::Whole}, {"max_abs_diff", Kind::Number}, {"max_abs_logit", Kind::Number}};
constexpr Field kMerge[] = {{"sparse_weights", Kind::Whole},
                            {"kept_zeros", Kind::Whole},
                            {"update_norm", Kind::Number},
                            {"masked_norm", Kind::Number}};

// A program and a form: whether it opens the model so.
constexpr Field kForms[] = {{"software", Kind::Word},
                            {"format", Kind::Word},
                            {"form", Kind::Word},
                            {"legal", Kind::Truth},
                            {"how", Kind::Word, kMaybe},
                            {"why", Kind::Word, kMaybe},
                            {"on_request", Kind::Truth, kMaybe},
                            {"alternative", Kind::Word, kMaybe}};
constexpr Field kGguf[] = {{"types", Kind::Object},       {"exact", Kind::Truth},
                           {"blocks_copied", Kind::List}, {"requantised", Kind::List},
                           {"fallbacks", Kind::List},     {"architecture", Kind::Word}};
constexpr Field kBitmask[] = {{"exact", Kind::Truth},   {"matrices", Kind::Whole},
                              {"weights", Kind::Whole}, {"values", Kind::Whole},
                              {"bytes", Kind::Whole},   {"dense_bytes", Kind::Whole}};
constexpr Field kForm[] = {{"format", Kind::Word}, {"form", Kind::Word}};

constexpr Field kCalibration[] = {{kFile, Kind::Word},         {kSha256, Kind::Word},
                                  {kBytes, Kind::Whole},       {"format", Kind::Word},
                                  {"compression", Kind::Word}, {"windows", Kind::List}};
constexpr Field kMask[] = {{"pattern", Kind::Word},
                           {"sparsity", Kind::Number},
                           {"weights", Kind::Whole},
                           {"zeros", Kind::Whole}};
constexpr Field kRotation[] = {
    {"channels_before", Kind::Whole}, {"channels", Kind::Whole}, {"energy", Kind::Number}};
constexpr Field kVocabulary[] = {{"tokens_before", Kind::Whole},
                                 {"tokens", Kind::Whole},
                                 {"required", Kind::Whole},
                                 {"left_out", Kind::List},
                                 {"text", Kind::Object, kMaybe}};
constexpr Field kPrune[] = {{"calibration", Kind::Object, kMaybe, kCalibration},
                            {"ratio", Kind::Number},
                            {"untouched", Kind::List, kMaybe},
                            {"calibration_loss", Kind::Number, kMaybe},
                            {"resumed", Kind::Truth, kMaybe},
                            {"output_check", Kind::Object, kMaybe, kCheck},
                            {"gguf", Kind::Object, kMaybe, kGguf},
                            {"mask", Kind::Object, kMaybe, kMask},
                            {"vocabulary", Kind::Object, kMaybe, kVocabulary},
                            {"rotation", Kind::Object, kMaybe, kRotation},
                            {kSource, Kind::Object, Presence::Always, kSizes},
                            {kSourceFiles, Kind::List, Presence::Always, kFileFields},
                            {kResult, Kind::Object, Presence::Always, kSizes},
                            {"forms", Kind::List, kMaybe, kForms},
                            {kParametersRemoved, Kind::Number},
                            {"result_files", Kind::List, kMaybe, kFileFields},
                            {kFiles, Kind::List}};
constexpr Field kApply[] = {{"output_check", Kind::Object, Presence::Always, kCheck},
                            {"gguf", Kind::Object, kMaybe, kGguf},
                            {"mask", Kind::Object, kMaybe, kMask},
                            {"vocabulary", Kind::Object, kMaybe, kVocabulary},
                            {"rotation", Kind::Object, kMaybe, kRotation},
                            {kSource, Kind::Object, Presence::Always, kSizes},
                            {kSourceFiles, Kind::List, Presence::Always, kFileFields},
                            {kResult, Kind::Object, Presence::Always, kSizes},
                            {"forms", Kind::List, kMaybe, kForms},
                            {kParametersRemoved, Kind::Number},
                            {"result_files", Kind::List, Presence::Always, kFileFields},
                            {kFiles, Kind::List}};
constexpr Field kImport[] = {{"output_check", Kind::Object, Presence::Always, kCheck},
                             {kSource, Kind::Object, Presence::Always, kSizes},
                             {kSourceFiles, Kind::List, Presence::Always, kFileFields},
                             {kResult, Kind::Object, Presence::Always, kSizes},
                             {"result_files", Kind::List, Presence::Always, kFileFields},
                             {kFiles, Kind::List}};
constexpr Field kExport[] = {{"form", Kind::Object, Presence::Always, kForm},
                             {"forms", Kind::List, Presence::Always, kForms},
                             {kSource, Kind::Object, Presence::Always, kSizes},
                             {kSourceFiles, Kind::List, kMaybe, kFileFields},
                             {"output_check", Kind::Object, kMaybe, kCheck},
                             {"gguf", Kind::Object, kMaybe, kGguf},
                             {"bitmask", Kind::Object, kMaybe, kBitmask},
                             {kResult, Kind::Object, kMaybe, kSizes},
                             {"result_files", Kind::List, kMaybe, kFileFields},
                             {kFiles, Kind::List, kMaybe}};
constexpr Field kMergeRun[] = {{"output_check", Kind::Object, Presence::Always, kCheck},
                               {"merge", Kind::Object, Presence::Always, kMerge},
                               {kSource, Kind::Object, Presence::Always, kSizes},
                               {kResult, Kind::Object, Presence::Always, kSizes},
                               {"result_files", Kind::List, Presence::Always, kFileFields},
                               {kFiles, Kind::List}};

constexpr Field kDataFields[] = {{"documents", Kind::Whole},          {"train_rows", Kind::Whole},
                                 {"valid_rows", Kind::Whole},         {"cut", Kind::Whole},
                                 {"unscored", Kind::Whole},           {kSha256, Kind::Word, kMaybe},
                                 {"valid_sha256", Kind::Word, kMaybe}};
constexpr Field kMemoryPlan[] = {
    {kBytes, Kind::Whole}, {"parts", Kind::Object}, {"flops_per_step", Kind::Number}};
constexpr Field kTrainingFields[] = {{"steps", Kind::Whole},
                                     {"kept_after_step", Kind::Whole},
                                     {"stopped_early", Kind::Truth},
                                     {"resumed", Kind::Truth},
                                     {"train_loss", Kind::Number, kOrNull},
                                     {kValidLossBefore, Kind::Number, kOrNull},
                                     {kValidLoss, Kind::Number, kOrNull},
                                     {"valid_loss_last", Kind::Number, kOrNull},
                                     {"tokens", Kind::Whole},
                                     {"targets", Kind::Whole},
                                     {kSeconds, Kind::Number},
                                     {"tokens_per_second", Kind::Number},
                                     {"mfu", Kind::Number}};
constexpr Field kSubBlock[] = {{"layer", Kind::Whole},         {"part", Kind::Word},
                               {"error_before", Kind::Number}, {"error_after", Kind::Number},
                               {"kept", Kind::Truth},          {"steps", Kind::Whole}};
constexpr Field kRecover[] = {{"prune", Kind::Object, kMaybe},
                              {kData, Kind::Object, Presence::Always, kDataFields},
                              {"memory_plan", Kind::Object, kMaybe, kMemoryPlan},
                              {kTraining, Kind::Object, kMaybe, kTrainingFields},
                              {"resumed_with", Kind::List, kMaybe},
                              {"sparse_weights", Kind::Whole, kMaybe},
                              {kValidLossBefore, Kind::Number, kMaybe},
                              {"sub_blocks", Kind::List, kMaybe, kSubBlock},
                              {"output_check", Kind::Object, kMaybe, kCheck},
                              {kValidLossWritten, Kind::Number, kMaybe},
                              {"merge", Kind::Object, kMaybe, kMerge},
                              {kSource, Kind::Object, Presence::Always, kSizes},
                              {kResult, Kind::Object, Presence::Always, kSizes},
                              {kSourceFiles, Kind::List, Presence::Always, kFileFields},
                              {"result_files", Kind::List, kMaybe, kFileFields},
                              {kFiles, Kind::List}};
constexpr Field kTrain[] = {{kData, Kind::Object, Presence::Always, kDataFields},
                            {"memory_plan", Kind::Object, Presence::Always, kMemoryPlan},
                            {kTraining, Kind::Object, Presence::Always, kTrainingFields},
                            {"resumed_with", Kind::List, kMaybe},
                            {"output_check", Kind::Object, Presence::Always, kCheck},
                            {kValidLossWritten, Kind::Number, kMaybe},
                            {kResult, Kind::Object, Presence::Always, kSizes},
                            {"result_files", Kind::List, Presence::Always, kFileFields},
                            {kFiles, Kind::List}};

constexpr Field kTokenizerFields[] = {{"pieces", Kind::Whole},          {"characters", Kind::Whole},
                                      {"learned", Kind::Whole},         {"documents", Kind::Whole},
                                      {"text_bytes", Kind::Whole},      {"tokens", Kind::Whole},
                                      {"bytes_per_token", Kind::Number}};
constexpr Field kTokenizer[] = {{"tokenizer", Kind::Object, Presence::Always, kTokenizerFields},
                                {kFiles, Kind::List}};

// A text that was scored; `results` and `kl` begin with it.
constexpr Field kPerplexity[] = {{kFile, Kind::Word},
                                 {"protocol", Kind::Word},
                                 {"rule", Kind::Word},
                                 {"seqlen", Kind::Whole},
                                 {"text_sha256", Kind::Word},
                                 {"dtype", Kind::Word},
                                 {"ppl", Kind::Number},
                                 {"ppl_stderr", Kind::Number, kOrNull},
                                 {"nll_per_token", Kind::Number},
                                 {"nll_per_token_stderr", Kind::Number, kOrNull},
                                 {"tokens", Kind::Whole},
                                 {"nll_sum", Kind::Number},
                                 {"sequences", Kind::Whole},
                                 {"documents", Kind::Whole, kMaybe},
                                 {"word_perplexity", Kind::Number, kMaybe},
                                 {"byte_perplexity", Kind::Number, kMaybe},
                                 {"bits_per_byte", Kind::Number, kMaybe},
                                 {kRelative, Kind::Object, kMaybe},
                                 {kSeconds, Kind::Number}};
constexpr Field kDivergence[] = {{kFile, Kind::Word},
                                 {"protocol", Kind::Word},
                                 {"text_sha256", Kind::Word},
                                 {"dense", Kind::Word},
                                 {"tokens", Kind::Whole},
                                 {"top_k", Kind::Whole},
                                 {"exact", Kind::Truth},
                                 {"kl_per_token", Kind::Number},
                                 {"kl_per_token_stderr", Kind::Number, kOrNull},
                                 {"top1_agreement", Kind::Number},
                                 {"top1_agreement_stderr", Kind::Number, kOrNull},
                                 {"ppl", Kind::Number},
                                 {"dense_ppl", Kind::Number},
                                 {"cache_reused", Kind::Truth},
                                 {kSeconds, Kind::Number}};
constexpr Field kEval[] = {{kModel, Kind::Word},
                           {kParameters, Kind::Whole},
                           {kResults, Kind::List, Presence::Always, kPerplexity},
                           {kTasks, Kind::Object, kMaybe},
                           {kRelative, Kind::Object, kMaybe},
                           {kKl, Kind::Object, kMaybe, kDivergence},
                           {kSource, Kind::Object, Presence::Always, kSizes},
                           {kSourceFiles, Kind::List, Presence::Always, kFileFields}};

constexpr Field kSpread[] = {
    {"median", Kind::Number}, {"min", Kind::Number}, {"max", Kind::Number}};
constexpr Field kCase[] = {{"batch", Kind::Whole},
                           {"prompt_tokens", Kind::Whole},
                           {"new_tokens", Kind::Whole},
                           {"decode_tokens", Kind::Whole},
                           {"prefill_macs", Kind::Number},
                           {"step_macs", Kind::Number},
                           {"step_bytes", Kind::Number},
                           {"kv_bytes", Kind::Number},
                           {"prefill_tokens_per_second", Kind::Object, Presence::Always, kSpread},
                           {"first_token_ms", Kind::Object, Presence::Always, kSpread},
                           {"decode_tokens_per_second", Kind::Object, Presence::Always, kSpread},
                           {"breakdown", Kind::Object}};
constexpr Field kBenchModel[] = {{kModel, Kind::Word},
                                 {kParameters, Kind::Whole},
                                 {kBytes, Kind::Whole},
                                 {"resident_dtype", Kind::Word},
                                 {"resident_bytes", Kind::Whole},
                                 {kMacs, Kind::Number},
                                 {kCases, Kind::List, Presence::Always, kCase},
                                 {kSourceFiles, Kind::List, Presence::Always, kFileFields}};
constexpr Field kRatio[] = {{"batch", Kind::Whole},
                            {"prompt_tokens", Kind::Whole},
                            {"new_tokens", Kind::Whole},
                            {"prefill", Kind::Object, Presence::Always, kSpread},
                            {"first_token", Kind::Object, Presence::Always, kSpread},
                            {"decode", Kind::Object, Presence::Always, kSpread}};
constexpr Field kBench[] = {{kDevice, Kind::Word},
                            {kModels, Kind::List, Presence::Always, kBenchModel},
                            {kRatios, Kind::List, kMaybe, kRatio},
                            {kPeakDeviceBytes, Kind::Whole, kMaybe}};

constexpr Field kInspect[] = {{kModel, Kind::Word},         {"family", Kind::Word},
                              {"architecture", Kind::Word}, {"dtype", Kind::Word},
                              {"dtype_source", Kind::Word}, {kParameters, Kind::Whole},
                              {kBytes, Kind::Whole},        {"config", Kind::Object},
                              {"parts", Kind::List},        {"layers", Kind::List},
                              {"groups", Kind::List},       {"macs", Kind::Object},
                              {"memory", Kind::Object},     {"forms", Kind::List, kMaybe, kForms}};

constexpr Field kWorst[] = {{"sequence", Kind::Whole},
                            {"place", Kind::Whole},
                            {"id", Kind::Whole},
                            {"logit", Kind::Number},
                            {"other", Kind::Number}};
constexpr Field kTokenizers[] = {{"tokens", Kind::Whole},
                                 {"other_tokens", Kind::Whole},
                                 {"same_ids", Kind::Truth, kOrNull},
                                 {"first_difference", Kind::Whole, kMaybe}};
constexpr Field kVerification[] = {{"tokens", Kind::Whole},
                                   {"ids", Kind::Whole},
                                   {"max_abs_diff", Kind::Number},
                                   {"mean_abs_diff", Kind::Number},
                                   {"max_abs_logit", Kind::Number},
                                   {"max_relative_diff", Kind::Number},
                                   {"mean_kl", Kind::Number},
                                   {"max_kl", Kind::Number},
                                   {"top1_agreement", Kind::Number},
                                   {"nll", Kind::Number},
                                   {"other_nll", Kind::Number},
                                   {"worst", Kind::Object, Presence::Always, kWorst},
                                   {"seqlen", Kind::Whole},
                                   {"text", Kind::Word},
                                   {"text_sha256", Kind::Word, kMaybe},
                                   {"vocab_size", Kind::List},
                                   {"tokenizer", Kind::Object, kMaybe, kTokenizers},
                                   {"passed", Kind::Truth, kOrNull}};
constexpr Field kVerifyRun[] = {{kVerify, Kind::Object, Presence::Always, kVerification},
                                {kModels, Kind::List}};

constexpr Field kRow[] = {{"figure", Kind::Word}, {"values", Kind::List}};
constexpr Field kCompare[] = {{kModels, Kind::List}, {kRows, Kind::List, Presence::Always, kRow}};

struct CommandFields {
  std::string_view command;
  std::span<const Field> fields;
};
constexpr CommandFields kCommands[] = {
    {"prune", kPrune},     {"apply", kApply},         {"recover", kRecover}, {"merge", kMergeRun},
    {"train", kTrain},     {"tokenizer", kTokenizer}, {"eval", kEval},       {"bench", kBench},
    {"inspect", kInspect}, {"compare", kCompare},     {"import", kImport},   {"export", kExport},
    {"verify", kVerifyRun}};

bool is_of(const Json& value, Kind kind) {
  switch (kind) {
    case Kind::Word:
      return value.is_string();
    case Kind::Whole:
      return value.is_number_integer();
    case Kind::Number:
      return value.is_number();
    case Kind::Truth:
      return value.is_boolean();
    case Kind::List:
      return value.is_array();
    case Kind::Object:
      return value.is_object();
  }
  return false;
}

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::Word:
      return "a string";
    case Kind::Whole:
      return "a whole number";
    case Kind::Number:
      return "a number";
    case Kind::Truth:
      return "true or false";
    case Kind::List:
      return "a list";
    case Kind::Object:
      return "an object";
  }
  return "?";
}

// A message quotes no more of a value than a reader wants to see.
std::string shown(const Json& value) {
  constexpr size_t kMost = 40;
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
}

void check_fields(const Json& object, std::span<const Field> fields, const std::string& where,
                  const std::string& path);

void check_value(const Json& value, const Field& field, const std::string& where,
                 const std::string& path) {
  if (field.presence == Presence::MaybeNull && value.is_null()) return;
  PRUNUS_CHECK(is_of(value, field.kind), Corrupt, where, ": ", path, " is ", shown(value),
               ", expected ", name_of(field.kind), "; not as prunus writes it");
  if (field.inner.empty()) return;
  if (field.kind == Kind::Object) return check_fields(value, field.inner, where, path + ".");
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string item = c10::str(path, "[", i, "]");
    PRUNUS_CHECK(value[i].is_object(), Corrupt, where, ": ", item, " is ", shown(value[i]),
                 ", expected an object; not as prunus writes it");
    check_fields(value[i], field.inner, where, item + ".");
  }
}

void check_fields(const Json& object, std::span<const Field> fields, const std::string& where,
                  const std::string& path) {
  for (const Field& field : fields) {
    const auto found = object.find(field.key);
    const bool needed = field.presence != Presence::Maybe;
    PRUNUS_CHECK(found != object.end() || !needed, Corrupt, where, ": ", path, field.key,
                 " is missing, expected ", name_of(field.kind), "; not as prunus writes it");
    if (found != object.end()) check_value(*found, field, where, path + field.key);
  }
}

std::span<const Field> fields_of(const std::string& command, const std::string& where) {
  const auto* found =
      std::find_if(std::begin(kCommands), std::end(kCommands),
                   [&](const CommandFields& one) { return one.command == command; });
  PRUNUS_CHECK(found != std::end(kCommands), Corrupt, where, ": command is '", command,
               "', which no version that this one knows has; a later prunus may read it");
  return found->fields;
}

}  // namespace

bool is_run(const Json& json) {
  return json.is_object() && json.value(kFormat, Json()) == kRunFormat;
}

void check_run(const Json& run, const std::string& where) {
  PRUNUS_CHECK(run.is_object(), Corrupt, where, ": is ", shown(run), ", expected an object");
  check_fields(run, kHead, where, "");
  PRUNUS_CHECK(is_run(run), Corrupt, where, ": format is ", shown(run.at(kFormat)), ", expected \"",
               kRunFormat, "\"");
  PRUNUS_CHECK(run.at(kVersion) == kRunVersion, Corrupt, where, ": version is ",
               shown(run.at(kVersion)), ", expected ", kRunVersion);
  check_fields(run, fields_of(run.at(kCommand).get<std::string>(), where), where, "");
}

std::vector<std::string> unknown_run_keys(const Json& run) {
  const auto own = fields_of(run.value(kCommand, std::string()), "run.json");
  const auto holds = [](std::span<const Field> fields, const std::string& key) {
    return std::any_of(fields.begin(), fields.end(),
                       [&](const Field& field) { return field.key == key; });
  };
  std::vector<std::string> unknown;
  for (const auto& [key, value] : run.items()) {
    if (!holds(kHead, key) && !holds(own, key)) unknown.push_back(key);
  }
  return unknown;
}

}  // namespace prunus
