#include "prunus/eval/eval_table.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/job/job_options.h"

namespace prunus {
namespace {

constexpr Range kCase{1, 1 << 30};

constexpr const char* kPerplexityGroup = "Perplexity";
constexpr const char* kTaskGroup = "Zero-shot tasks";
constexpr const char* kDivergenceGroup = "Divergence from the unpruned model";

// What the program does with the record.
constexpr const char* kEvalOthers[] = {"json", "threads", "quiet",  "matmul",
                                       "out",  "samples", "resume", "force"};
constexpr const char* kBenchOthers[] = {"json", "threads", "quiet", "matmul", "out", "force"};

constexpr Option<EvalJob> kEvalOptions[] = {
    {.info = {.key = "model", .help = kModelHelp, .positional = "MODEL", .required = true},
     .member = PRUNUS_MODEL(EvalJob, model_dir, model_asked)},
    PRUNUS_RECIPE_OPTION(EvalJob, "config", "recipe"),
    {.info = {.key = "ppl",
              .group = kPerplexityGroup,
              .help = "text to measure perplexity on (repeatable): a file (also .gz, .zst), or "
                      "wikitext2@N, ptb@N, c4@N for chunks of N tokens, looked up in --text-dir or "
                      "given as wikitext2@N=FILE"},
     .member = PRUNUS_MEMBER(EvalJob, texts)},
    {.info = {.key = "protocol",
              .group = kPerplexityGroup,
              .help = "paper (one BOS, tokenised once, cut into chunks, remainder dropped; jsonl "
                      "files document by document), llm-pruner (its way to join PTB), or "
                      "lm-eval-word (whole documents in rolling windows: word and byte perplexity)",
              .choices = "paper,llm-pruner,lm-eval-word"},
     .member = PRUNUS_WORD(EvalJob, protocol.rule, parse_perplexity_rule, name_of_rule)},
    {.info = {.key = "seqlen",
              .group = kPerplexityGroup,
              .help = "tokens per chunk (128), or longest document or window (the context); "
                      "perplexities at different lengths cannot be compared",
              .range = {.least = 2}},
     .member = PRUNUS_MEMBER(EvalJob, protocol.seqlen)},
    {.info = {.key = "text-dir",
              .group = kPerplexityGroup,
              .help = "folder of the texts that have a name"},
     .member = PRUNUS_MEMBER(EvalJob, protocol.text_dir)},

    {.info = {.key = "tasks",
              .group = kTaskGroup,
              .help = "boolq,piqa,...; all (every task whose file is there); or llm-pruner-table",
              .separator = ','},
     .member = PRUNUS_MEMBER(EvalJob, tasks.names)},
    {.info = {.key = "task-dir", .group = kTaskGroup, .help = "folder of the tasks' files"},
     .member = PRUNUS_MEMBER(EvalJob, tasks.dir)},
    {.info = {.key = "max-length",
              .group = kTaskGroup,
              .help = "tasks: ids of context and continuation looked at, the last ones; 0: as many "
                      "as the model's context"},
     .member = PRUNUS_MEMBER(EvalJob, tasks.score.max_length)},
    {.info = {.key = "limit",
              .group = kTaskGroup,
              .help = "only the first items of each task; 0: all"},
     .member = PRUNUS_MEMBER(EvalJob, tasks.limit)},
    {.info = {.key = "few-shot",
              .group = kTaskGroup,
              .help = "examples before each question (the task's)"},
     .member = PRUNUS_MEMBER(EvalJob, tasks.few_shot)},
    {.info = {.key = "seed", .group = kTaskGroup, .help = "of the examples"},
     .member = PRUNUS_MEMBER(EvalJob, tasks.seed)},
    {.info = {.key = "relative-to",
              .group = kTaskGroup,
              .help = "JSON of the unpruned model's evaluation: print figures as fractions of its"},
     .member = PRUNUS_MEMBER(EvalJob, relative_to)},

    {.info = {.key = "kl-to",
              .group = kDivergenceGroup,
              .help = "the unpruned model: measure KL(it || MODEL) and how often the likeliest "
                      "token is the same"},
     .member = PRUNUS_MODEL(EvalJob, dense_dir, dense_asked)},
    {.info = {.key = "text",
              .group = kDivergenceGroup,
              .help = "text to measure it on, as for --ppl"},
     .member = PRUNUS_MEMBER(EvalJob, kl_text)},
    {.info = {.key = "kl-top-k",
              .group = kDivergenceGroup,
              .help = "tokens of its distribution that are told apart; the rest is one bucket",
              .range = {1, 0x1p31}},
     .member = PRUNUS_MEMBER(EvalJob, divergence.top_k)},
    {.info = {.key = "kl-cache",
              .group = kDivergenceGroup,
              .help = "file to keep its distribution in, for the next model"},
     .member = PRUNUS_MEMBER(EvalJob, divergence.cache)},
    {.info = {.key = "precision",
              .help =
                  "of matrix products and attention: float32, whose figures can be compared with "
                  "any other program's; bfloat16, faster where the machine multiplies it, with "
                  "figures that differ in the fourth digit; float64",
              .choices = "float32,bfloat16,float64"},
     .member = PRUNUS_WORD(EvalJob, precision, parse_precision, name_of_precision)},
    PRUNUS_DEVICE_OPTION(EvalJob, device)};

constexpr Option<BenchJob> kBenchOptions[] = {
    {.info = {.key = "model", .help = kModelHelp, .positional = "MODEL", .required = true},
     .member = PRUNUS_MODEL(BenchJob, model_dir, model_asked)},
    PRUNUS_RECIPE_OPTION(BenchJob, "config", "recipe"),
    {.info = {.key = "vs",
              .help = "a second model, measured in turn with the first; prints how much faster it "
                      "is"},
     .member = PRUNUS_MODEL(BenchJob, other_dir, other_asked)},
    {.info = {.key = "prompt-tokens",
              .help = "lengths of the prompt, comma-separated",
              .range = kCase,
              .separator = ',',
              .one_argument = true},
     .member = PRUNUS_MEMBER(BenchJob, prompt_tokens)},
    {.info = {.key = "batch",
              .help = "sequences at once, comma-separated",
              .range = kCase,
              .separator = ',',
              .one_argument = true},
     .member = PRUNUS_MEMBER(BenchJob, batches)},
    {.info = {.key = "new-tokens", .help = "decode steps after the first token", .range = kCase},
     .member = PRUNUS_MEMBER(BenchJob, new_tokens)},
    {.info = {.key = "repeat", .help = "measured runs of each case", .range = kCase},
     .member = PRUNUS_MEMBER(BenchJob, repeat)},
    {.info = {.key = "warmup", .help = "runs of each case before them", .range = {0, 1 << 30}},
     .member = PRUNUS_MEMBER(BenchJob, warmup)},
    {.info = {.key = "seed", .help = "of the random prompts"},
     .member = PRUNUS_MEMBER(BenchJob, seed)},
    {.info = {.key = "dtype",
              .help =
                  "what weights are held and multiplied in; auto: as stored, GGUF's "
                  "blocks and bitmasks too, but float32 for float16 on the CPU, as generate does",
              .choices = "auto,float32,bfloat16,float16,file"},
     .member = PRUNUS_WORD(BenchJob, dtype, parse_resident_dtype, resident_dtype_name)},
    {.info = {.key = "kv-dtype",
              .help = "what keys and values are cached in; auto: as weights are multiplied",
              .choices = "auto,float32,bfloat16,float16"},
     .member = PRUNUS_WORD(BenchJob, kv_dtype, parse_kv_dtype, kv_dtype_name)},
    PRUNUS_DEVICE_OPTION(BenchJob, device)};

constexpr Option<VerifyJob> kVerifyOptions[] = {
    {.info = {.key = "model", .help = kModelHelp, .positional = "MODEL", .required = true},
     .member = PRUNUS_MODEL(VerifyJob, model_dir, model_asked)},
    {.info = {.key = "other",
              .help = "the model to compare it with",
              .positional = "OTHER",
              .required = true},
     .member = PRUNUS_MODEL(VerifyJob, other_dir, other_asked)},
    PRUNUS_RECIPE_OPTION(VerifyJob, "config", "recipe"),
    {.info = {.key = "data",
              .help = "text to compare on: plain, or JSON lines with \"text\"; also .gz, .zst "
                      "(default: a page of its own in several scripts)",
              .excludes = "random"},
     .member = PRUNUS_MEMBER(VerifyJob, data)},
    {.info = {.key = "random",
              .help = "compare on ids drawn by --seed: for models without a tokenizer"},
     .member = PRUNUS_MEMBER(VerifyJob, random)},
    {.info = {.key = "tokens", .help = "compare at most so many", .range = {.least = 2}},
     .member = PRUNUS_MEMBER(VerifyJob, tokens)},
    {.info = {.key = "seqlen",
              .help = "tokens a sequence (512, or the shorter context)",
              .range = {.least = 2}},
     .member = PRUNUS_MEMBER(VerifyJob, seqlen)},
    {.info = {.key = "seed", .help = "of --random"}, .member = PRUNUS_MEMBER(VerifyJob, seed)},
    {.info = {.key = "tolerance",
              .help = "exit 6 where two logits differ by more, or vocabularies or tokenizers "
                      "differ"},
     .member = PRUNUS_MEMBER(VerifyJob, tolerance)},
    PRUNUS_DEVICE_OPTION(VerifyJob, device)};

}  // namespace

const OptionTable<EvalJob> eval_table{.command = "eval",
                                      .options = kEvalOptions,
                                      .fresh = +[] { return EvalJob(); },
                                      .others = kEvalOthers};

const OptionTable<BenchJob> bench_table{.command = "bench",
                                        .options = kBenchOptions,
                                        .fresh = +[] { return BenchJob(); },
                                        .others = kBenchOthers};

const OptionTable<VerifyJob> verify_table{.command = "verify",
                                          .options = kVerifyOptions,
                                          .fresh = +[] { return VerifyJob(); },
                                          .others = kBenchOthers};

}  // namespace prunus
