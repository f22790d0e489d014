#include "prunus/recover/recover.h"

#include <cstdio>
#include <memory>
#include <optional>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/block_cache.h"
#include "prunus/base/error.h"
#include "prunus/cli/command.h"
#include "prunus/cli/parser.h"
#include "prunus/cli/recover_summary.h"

namespace prunus::commands {
namespace {

// What was given on the command line; the rest comes from the mode's and the preset's defaults.
struct Options {
  std::string model_dir, out_dir, data, valid_file, chat_template, teacher_dir, adapter_dir,
      work_dir, preset;
  bool full = false;
  bool sub_block = false;
  bool adapter_only = false;
  std::optional<int64_t> lora_r, batch, micro_batch, max_steps, warmup, valid_every, patience;
  std::optional<int64_t> save_every, row_tokens, kd_top_k, self_rows, sub_block_rows;
  std::optional<double> lora_alpha, lora_dropout, lr, epochs, weight_decay, clip, valid_split;
  std::optional<double> ce_weight, kd_weight, kd_temperature, seam_weight, self_temperature, beta2;
  std::optional<double> sub_block_lr, residual_correction;
  std::optional<int64_t> sub_block_epochs;
  std::optional<std::string> lora_targets, lora_init, schedule, optimizer, format, packing;
  bool rslora = false;
  bool train_on_prompt = false;
  bool no_eos = false;
  bool teacher_resident = false;
  bool resume = false;
  bool force = false;
  bool ignore_memory = false;
  bool json = false;
  std::string checkpoint = "auto";
  std::string dtype = "float32";
  std::string base_dtype = "file";
  uint64_t seed = 0;
  CommonOptions common;
};

template <typename Target, typename Given>
void take(Target& target, const std::optional<Given>& given) {
  if (given) target = *given;
}

void take_lora(LoraOptions& lora, const Options& options) {
  take(lora.r, options.lora_r);
  take(lora.dropout, options.lora_dropout);
  // The customary ratio of 2 stays where only the rank is given.
  if (options.lora_r) lora.alpha = 2 * static_cast<double>(lora.r);
  take(lora.alpha, options.lora_alpha);
  lora.rslora = options.rslora;
  take(lora.targets, options.lora_targets);
  if (options.lora_init) {
    lora.init =
        *options.lora_init == "gaussian" ? LoraOptions::Init::Gaussian : LoraOptions::Init::Kaiming;
  }
}

void take_data(RecoverJob& job, const Options& options) {
  DataOptions& rows = job.rows;
  if (options.format) rows.format = parse_data_format(*options.format);
  if (options.packing) rows.packing = parse_packing(*options.packing);
  take(rows.row_tokens, options.row_tokens);
  rows.train_on_prompt = options.train_on_prompt;
  rows.append_eos = !options.no_eos;
  take(rows.valid_fraction, options.valid_split);
  take(job.self.rows, options.self_rows);
  take(job.self.temperature, options.self_temperature);
}

void take_training(RecoverJob& job, const Options& options) {
  TrainerOptions& trainer = job.trainer;
  take(trainer.batch_rows, options.batch);
  take(trainer.micro_rows, options.micro_batch);
  take(job.max_steps, options.max_steps);
  take(job.epochs, options.epochs);
  take(job.warmup_steps, options.warmup);
  take(trainer.schedule.lr, options.lr);
  if (options.schedule) trainer.schedule.kind = parse_schedule(*options.schedule);
  if (options.optimizer) trainer.optimizer.kind = parse_optimizer(*options.optimizer);
  take(trainer.optimizer.weight_decay, options.weight_decay);
  take(trainer.optimizer.beta2, options.beta2);
  take(trainer.clip, options.clip);
  take(trainer.valid_every, options.valid_every);
  take(trainer.patience, options.patience);
  take(trainer.save_every, options.save_every);
  if (options.dtype == "bfloat16") job.model.compute = at::kBFloat16;
  job.model.int8_base = options.base_dtype == "int8";
  job.checkpointing = options.checkpoint == "on"    ? Checkpointing::On
                      : options.checkpoint == "off" ? Checkpointing::Off
                                                    : Checkpointing::Auto;
}

// A teacher is there to be learnt from: its distribution counts in full, the text's own next token
// a tenth.
void take_loss(RecoverJob& job, const Options& options) {
  LossWeights& loss = job.trainer.loss;
  if (!options.teacher_dir.empty() && job.mode != RecoverMode::SubBlock) {
    loss.kl = 1.0;
    loss.ce = 0.1;
  }
  take(loss.ce, options.ce_weight);
  take(loss.kl, options.kd_weight);
  take(loss.temperature, options.kd_temperature);
  take(loss.top_k, options.kd_top_k);
  take(loss.seam, options.seam_weight);
}

RecoverJob job_of(const Options& options, at::Device device) {
  PRUNUS_CHECK(!(options.full && options.sub_block), InvalidArgument,
               "--full and --sub-block are two ways to recover; choose one, and run the other on "
               "its output");
  const RecoverMode mode = options.full        ? RecoverMode::Full
                           : options.sub_block ? RecoverMode::SubBlock
                                               : RecoverMode::Lora;
  RecoverJob job = recover_defaults(mode, options.preset);
  job.model_dir = options.model_dir;
  job.out_dir = options.out_dir;
  job.data = options.data;
  job.valid_file = options.valid_file;
  job.chat_template = options.chat_template;
  job.teacher_dir = options.teacher_dir;
  job.adapter_dir = options.adapter_dir;
  job.work_dir = options.work_dir;
  job.adapter_only = options.adapter_only;
  job.teacher_resident = options.teacher_resident;
  job.resume = options.resume;
  job.force = options.force;
  job.ignore_memory = options.ignore_memory;
  job.seed = options.seed;
  job.device = device;
  take_lora(job.lora, options);
  take_data(job, options);
  take_training(job, options);
  take_loss(job, options);
  take(job.sub_block_rows, options.sub_block_rows);
  take(job.sub_block.epochs, options.sub_block_epochs);
  take(job.sub_block.lr, options.sub_block_lr);
  take(job.sub_block.residual_correction, options.residual_correction);
  return job;
}

void run(const Options& options) {
  const at::Device device = start(options.common);
  if (device.is_cpu()) reuse_tensor_memory();
  const Json record = run_recover(job_of(options, device));
  if (options.json) {
    print_json(record);
  } else {
    print_recover_summary(record);
  }
}

void declare_what(CLI::App& app, Options& options) {
  const char* group = "What is trained (adapters unless one of these is given)";
  app.add_flag("--full", options.full, "all weights, in FP32")->group(group);
  app.add_flag("--sub-block", options.sub_block,
               "the weights of one attention or feed-forward part at a time, to give what the "
               "--teacher's part gives; needs memory of one layer, no labels")
      ->group(group);
  app.add_option("--lora-r", options.lora_r, "rank of the adapters (8)")->group(group);
  app.add_option("--lora-alpha", options.lora_alpha, "the update is alpha / r times B·A (2·r)")
      ->group(group);
  app.add_option("--lora-dropout", options.lora_dropout, "share of A's inputs set to zero (0)")
      ->group(group);
  app.add_option(
         "--lora-targets", options.lora_targets,
         "weights with adapters: all (default: every projection of the model but experts), "
         "or names with commas between them: q_proj, k_proj, v_proj, o_proj, gate_proj, "
         "up_proj, down_proj, shared_… of a shared expert, or the family's own (c_attn, fc1, "
         "query_key_value); or a regular expression of PEFT for a module's whole path")
      ->group(group);
  app.add_option("--lora-init", options.lora_init,
                 "of A: kaiming (default; uniform, as PEFT) or gaussian (as the LoRA paper)")
      ->check(one_of({"kaiming", "gaussian"}))
      ->group(group);
  app.add_flag("--rslora", options.rslora, "the update is alpha / √r times B·A")->group(group);
  app.add_option("--adapter", options.adapter_dir,
                 "go on from this PEFT adapter (plain LoRA on the layers' projections)")
      ->group(group);
  app.add_flag("--adapter-only", options.adapter_only,
               "write the adapter in PEFT's format and not the merged model")
      ->group(group);
}

void declare_data(CLI::App& app, Options& options) {
  const char* group = "Data";
  app.add_option(
         "--format", options.format,
         "auto (default), text, instruct (Alpaca records: instruction, input, output; or "
         "prompt, response), or chat (messages, ShareGPT conversations, lists of prompt and "
         "completion; with --format chat also instruct records: as turns)")
      ->group(group);
  app.add_option("--chat-template", options.chat_template,
                 "how conversations are written, instead of the model's own chat template: a Jinja "
                 "file, or the word chatml")
      ->group(group);
  app.add_option(
         "--packing", options.packing,
         "pack (documents follow each other in rows of --row-tokens; text by default), pad "
         "(one document or record a row; instruct and chat by default), or fill (each document "
         "begins a row, the next ones fill it: for short ones)")
      ->group(group);
  app.add_option("--row-tokens", options.row_tokens, "ids a row, the cut-off of padded rows (256)")
      ->group(group);
  app.add_flag("--train-on-prompt", options.train_on_prompt,
               "instruct, chat: predict all tokens, not the answers alone")
      ->group(group);
  app.add_flag("--no-eos", options.no_eos,
               "no end-of-text id behind documents: for models that were trained without")
      ->group(group);
  app.add_option("--valid", options.valid_file,
                 "text to validate on; default: a share of the data, which is not trained on")
      ->group(group);
  app.add_option("--valid-split", options.valid_split, "that share (0.05); 0: no validation")
      ->check(CLI::Range(0.0, 0.99))
      ->group(group);
  app.add_option("--self-rows", options.self_rows, "--data self: rows to draw (256)")->group(group);
  app.add_option("--self-temperature", options.self_temperature, "--data self: of sampling (1)")
      ->group(group);
}

void declare_training(CLI::App& app, Options& options) {
  const char* group = "Training";
  app.add_option("--preset", options.preset,
                 "llm-pruner: the published recipe (r 8, alpha 16, dropout 0.05, 64 rows in "
                 "micro-batches of 4, 2 epochs, 1e-4 with 100 steps of warm-up, linear, cut-off "
                 "256, prompts masked)")
      ->group(group);
  app.add_option("--epochs", options.epochs, "passes over the data (1)")->group(group);
  app.add_option("--max-steps", options.max_steps, "optimiser steps, instead of epochs")
      ->group(group);
  app.add_option("--batch", options.batch, "rows a step (16)")->group(group);
  app.add_option("--micro-batch", options.micro_batch,
                 "rows through the model at once (4): less memory, same result")
      ->group(group);
  app.add_option("--lr", options.lr, "peak learning rate (adapters 1e-3, all weights 3e-4)")
      ->group(group);
  app.add_option("--schedule", options.schedule, "cosine (default), linear, wsd, constant")
      ->group(group);
  app.add_option("--warmup", options.warmup, "steps of warm-up (3 % of all)")->group(group);
  app.add_option("--optimizer", options.optimizer,
                 "adamw (default), or muon for the layers' matrices (--full)")
      ->group(group);
  app.add_option("--weight-decay", options.weight_decay,
                 "decoupled; norms and biases go without (adapters 0, all weights 0.01)")
      ->group(group);
  app.add_option("--beta2", options.beta2, "AdamW's (0.999)")->group(group);
  app.add_option("--clip", options.clip, "largest gradient norm (1); 0: none")->group(group);
  app.add_option("--valid-every", options.valid_every, "steps between validations (a tenth)")
      ->group(group);
  app.add_option("--patience", options.patience,
                 "stop after so many validations without a better one (never)")
      ->group(group);
  app.add_option("--seed", options.seed, "of order, split, adapters, dropout, drawn text")
      ->group(group);
}

void declare_teacher(CLI::App& app, Options& options) {
  const char* group = "Teacher";
  app.add_option("--teacher", options.teacher_dir,
                 "the unpruned model: learn its distribution (forward KL), not the text alone")
      ->group(group);
  app.add_option("--kd-weight", options.kd_weight, "of KL(teacher ‖ model) (1 with a teacher)")
      ->group(group);
  app.add_option("--ce-weight", options.ce_weight, "of the text's own tokens (0.1 with a teacher)")
      ->group(group);
  app.add_option("--kd-temperature", options.kd_temperature, "of both distributions (1)")
      ->group(group);
  app.add_option("--kd-top-k", options.kd_top_k,
                 "compare the teacher's K likeliest tokens and one bucket for the rest (0: all)")
      ->group(group);
  app.add_option("--seam-weight", options.seam_weight,
                 "of the distance to the teacher's hidden states where layers were removed (0)")
      ->group(group);
  app.add_flag("--teacher-resident", options.teacher_resident,
               "hold the teacher in FP32 instead of reading its layers anew for each step")
      ->group(group);
  app.add_option("--sub-block-rows", options.sub_block_rows,
                 "--sub-block: rows to learn from (256)")
      ->group(group);
  app.add_option("--sub-block-epochs", options.sub_block_epochs, "--sub-block: passes over them")
      ->group(group);
  app.add_option("--sub-block-lr", options.sub_block_lr, "--sub-block: peak learning rate")
      ->group(group);
  app.add_option("--residual-correction", options.residual_correction,
                 "--sub-block: how much of the error of the layers before is made up for, 0 to 1")
      ->group(group);
}

void declare_machine(CLI::App& app, Options& options) {
  const char* group = "Memory and interruption";
  app.add_option("--checkpoint", options.checkpoint,
                 "recompute layers in the backward pass: auto (where memory is short), on, off")
      ->check(one_of({"auto", "on", "off"}))
      ->group(group);
  app.add_option("--dtype", options.dtype,
                 "of the matrix products: float32, or bfloat16 (for CUDA; weights that are trained "
                 "stay FP32)")
      ->check(one_of({"float32", "bfloat16"}))
      ->group(group);
  app.add_option("--base-dtype", options.base_dtype,
                 "frozen weights: file (mapped as they are), or int8 (held in blocks of 64)")
      ->check(one_of({"file", "int8"}))
      ->group(group);
  app.add_flag("--ignore-memory", options.ignore_memory, "start although memory will not suffice")
      ->group(group);
  app.add_option("--save-every", options.save_every, "steps between saved states (every 30 s)")
      ->group(group);
  app.add_flag(
         "--resume", options.resume,
         "go on where an interrupted run of this command stopped; --lr, --schedule, --warmup, "
         "--clip, length and validation may differ from it")
      ->group(group);
  app.add_option("--work-dir", options.work_dir, "where the state is kept (beside OUT)")
      ->group(group);
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->model_dir, "pruned model: a Hugging Face directory")->required();
  app.add_option("--out", options->out_dir, "directory to write")->required();
  app.add_option("--data", options->data,
                 "text to train on: plain, JSON lines with \"text\", instruction records, or "
                 "conversations; also .gz, .zst, a pipe; or the word self: text drawn from the "
                 "teacher, or from MODEL")
      ->required();
  declare_what(app, *options);
  declare_data(app, *options);
  declare_training(app, *options);
  declare_teacher(app, *options);
  declare_machine(app, *options);
  app.add_flag("--force", options->force, "replace what stands at --out");
  app.add_flag("--json", options->json, "print run.json to stdout");
  add_common_options(app, options->common);
  add_examples(
      app, {"prunus recover SMALLER --out BETTER --data text.jsonl",
            "prunus recover SMALLER --out BETTER --data text.jsonl --teacher DENSE --full",
            "prunus recover SMALLER --out REPAIRED --data text.jsonl --teacher DENSE --sub-block"});
  return [options] { run(*options); };
}

}  // namespace

extern const Command recover{"recover", "Bring back quality: adapters, distillation, repair",
                             declare};

}  // namespace prunus::commands
