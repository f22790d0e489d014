#include <memory>
#include <optional>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/block_cache.h"
#include "prunus/cli/command.h"
#include "prunus/cli/parser.h"
#include "prunus/cli/recover_summary.h"
#include "prunus/recover/pretrain.h"

namespace prunus::commands {
namespace {

struct Options {
  PretrainJob job = pretrain_defaults();
  std::string optimizer = "muon";
  std::string schedule = "cosine";
  std::string checkpoint = "auto";
  std::string compute = "float32";
  std::string dtype = "bfloat16";
  std::string packing = "pack";
  bool no_eos = false;
  CommonOptions common;
  bool json = false;
};

void resolve(Options& options) {
  PretrainJob& job = options.job;
  job.trainer.optimizer.kind = parse_optimizer(options.optimizer);
  job.trainer.schedule.kind = parse_schedule(options.schedule);
  job.checkpointing = options.checkpoint == "on"    ? Checkpointing::On
                      : options.checkpoint == "off" ? Checkpointing::Off
                                                    : Checkpointing::Auto;
  if (options.compute == "bfloat16") job.model.compute = at::kBFloat16;
  job.dtype = options.dtype == "float32"   ? at::kFloat
              : options.dtype == "float16" ? at::kHalf
                                           : at::kBFloat16;
  job.rows.append_eos = !options.no_eos;
  job.rows.packing = parse_packing(options.packing);
}

void run(Options& options) {
  options.job.device = start(options.common);
  if (options.job.device.is_cpu()) reuse_tensor_memory();
  resolve(options);
  const Json record = run_pretrain(options.job);
  if (options.json) {
    print_json(record);
  } else {
    print_recover_summary(record);
  }
}

void declare_training(CLI::App& app, Options& options) {
  PretrainJob& job = options.job;
  const char* group = "Training";
  app.add_option("--epochs", job.epochs, "passes over the data (1)")->group(group);
  app.add_option("--max-steps", job.max_steps, "optimiser steps, instead of epochs")->group(group);
  app.add_option("--batch", job.trainer.batch_rows, "rows a step (16)")->group(group);
  app.add_option("--micro-batch", job.trainer.micro_rows,
                 "rows through the model at once (4): less memory, same result")
      ->group(group);
  app.add_option("--row-tokens", job.rows.row_tokens, "ids a row (256)")->group(group);
  app.add_option("--packing", options.packing,
                 "pack (default: documents follow each other), fill (each document begins a row, "
                 "the next ones fill it: for short ones), pad (one a row)")
      ->group(group);
  app.add_option("--lr", job.trainer.schedule.lr, "peak learning rate (3e-3)")->group(group);
  app.add_option("--schedule", options.schedule, "cosine (default), linear, wsd, constant")
      ->group(group);
  app.add_option("--final-lr", job.trainer.schedule.final_fraction,
                 "last learning rate as a share of the peak (0.02)")
      ->group(group);
  app.add_option("--warmup", job.warmup_steps, "steps of warm-up (5 % of all)")->group(group);
  app.add_option("--optimizer", options.optimizer,
                 "muon (default; AdamW for embedding, head and norms) or adamw")
      ->group(group);
  app.add_option("--weight-decay", job.trainer.optimizer.weight_decay, "decoupled (0.1)")
      ->group(group);
  app.add_option("--beta2", job.trainer.optimizer.beta2, "AdamW's (0.95)")->group(group);
  app.add_option("--clip", job.trainer.clip, "largest gradient norm (1); 0: none")->group(group);
  app.add_option("--init-std", job.init_deviation,
                 "deviation of the first weights (the configuration's initializer_range)")
      ->group(group);
  app.add_option("--seed", job.seed, "of weights, split and order")->group(group);
}

void declare_rest(CLI::App& app, Options& options) {
  PretrainJob& job = options.job;
  app.add_option("--valid", job.valid_file, "text to validate on (default: a share of the data)");
  app.add_option("--valid-split", job.rows.valid_fraction, "that share (0.02); 0: no validation")
      ->check(CLI::Range(0.0, 0.99));
  app.add_option("--valid-every", job.trainer.valid_every, "steps between validations (a tenth)");
  app.add_option("--patience", job.trainer.patience,
                 "stop after so many validations without a better one (never)");
  app.add_flag("--no-eos", options.no_eos, "no end-of-text id behind documents");
  app.add_option("--dtype", options.dtype, "of the written weights: bfloat16, float16, float32")
      ->check(one_of({"bfloat16", "float16", "float32"}));
  app.add_option("--compute", options.compute, "of the matrix products: float32, bfloat16 (CUDA)")
      ->check(one_of({"float32", "bfloat16"}));
  app.add_option("--checkpoint", options.checkpoint,
                 "recompute layers in the backward pass: auto (where memory is short), on, off")
      ->check(one_of({"auto", "on", "off"}));
  app.add_option("--save-every", job.trainer.save_every, "steps between saved states (every 30 s)");
  app.add_flag(
      "--resume", job.resume,
      "go on where an interrupted run of this command stopped; --lr, --schedule, --warmup, "
      "--clip, length and validation may differ from it");
  app.add_option("--work-dir", job.work_dir, "where the state is kept (beside OUT)");
  app.add_flag("--ignore-memory", job.ignore_memory, "start although memory will not suffice");
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  PretrainJob& job = options->job;
  app.add_option("--config", job.config,
                 "config.json of the model to make (sizes, vocab_size, family), or its directory")
      ->required();
  app.add_option("--tokenizer", job.tokenizer_dir,
                 "directory with the tokenizer (default: beside the configuration)");
  app.add_option("--data", job.data,
                 "text to train on: plain, or JSON lines with \"text\"; also .gz, .zst, a pipe")
      ->required();
  app.add_option("--out", job.out_dir, "directory to write")->required();
  declare_training(app, *options);
  declare_rest(app, *options);
  app.add_flag("--force", job.force, "replace what stands at --out");
  app.add_flag("--json", options->json, "print run.json to stdout");
  add_common_options(app, options->common);
  add_examples(
      app, {"prunus tokenizer --data stories.jsonl --vocab-size 1024 --out tok",
            "prunus train --config config.json --tokenizer tok --data stories.jsonl --out small"});
  return [options] { run(*options); };
}

}  // namespace

extern const Command train{"train", "Train a small model from scratch", declare};

}  // namespace prunus::commands
