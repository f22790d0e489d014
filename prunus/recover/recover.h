#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/adapter/lora.h"
#include "prunus/base/json.h"
#include "prunus/model/model.h"
#include "prunus/solve/sub_block.h"
#include "prunus/train/memory_plan.h"
#include "prunus/train/self_data.h"
#include "prunus/train/train_data.h"
#include "prunus/train/trainer.h"

namespace prunus {

enum class RecoverMode { Lora, Full, SubBlock };

/// One whole `prunus recover`: directory in, directory out.
struct RecoverJob {
  std::string model_dir;
  std::string out_dir;
  std::string data;        ///< file, or "self": text drawn from the teacher (or the model)
  std::string valid_file;  ///< empty: a share of the data, see rows.valid_fraction
  std::shared_ptr<TextFiles> texts = std::make_shared<TextFiles>();  ///< data and valid_file
  std::string teacher_dir;  ///< the unpruned model; needed for SubBlock and for distillation
  std::string adapter_dir;  ///< go on from this PEFT adapter; empty: a new one
  std::string work_dir;     ///< for the state; empty: OUT.work
  RecoverMode mode = RecoverMode::Lora;
  bool adapter_only = false;  ///< write the adapter in PEFT's format instead of a merged model
  LoraOptions lora;
  std::string chat_template;  ///< "chatml" or a file, instead of the model's own; empty: that
  DataOptions rows;           ///< row_tokens 0: 256, or the model's context where that is shorter
  SelfDataOptions self;
  TrainerOptions trainer;
  double epochs = 1;             ///< passes over the training rows, where max_steps is 0
  int64_t max_steps = 0;         ///< optimiser steps; 0: from epochs
  double warmup_fraction = .03;  ///< of all steps, where warmup_steps is −1
  int64_t warmup_steps = -1;
  TrainModelOptions model;
  Checkpointing checkpointing = Checkpointing::Auto;
  SubBlockOptions sub_block;
  int64_t sub_block_rows = 256;  ///< rows the sub-blocks learn from, at most
  bool teacher_resident = false;
  bool resume = false;
  bool force = false;
  bool ignore_memory = false;  ///< start although the plan exceeds what is free
  uint64_t seed = 0;           ///< of data split, order, adapter, dropout, self data
  at::Device device = at::Device(at::kCPU);
  std::string recipe;         ///< file that options were read from, for the record
  std::string model_asked;    ///< the model as it was asked for, for the record; empty: model_dir
  std::string teacher_asked;  ///< likewise
  Json made_by;  ///< record of the run that pruned the model, where this one goes on behind it
};

/// Defaults of a mode, or of a published recipe over them: "" or "llm-pruner" (adapters r 8, α 16,
/// dropout 0.05 on seven projections; AdamW at 1e-4, 100 steps of warm-up, linear; 64 rows a step,
/// 4 at once; 2 epochs; Alpaca records cut at 256 ids, prompts masked, padded). Source of
/// llm-pruner: its README and post_training.py, commit 128a07d. Throws InvalidArgument for another
/// name.
RecoverJob recover_defaults(RecoverMode mode, std::string_view preset);

/// Runs the job. The output directory appears complete or not at all: a model directory (weights in
/// the file's dtypes; reopened, logits checked), or with adapter_only a PEFT adapter; train.jsonl
/// (a line a step) and run.json. Returns what run.json holds. Says on stderr before it starts what
/// memory it will take. After an interruption or a loss that is not finite the state stays in the
/// work folder.
/// Throws InvalidArgument: options, a teacher of another vocabulary, memory that is not there;
/// otherwise as its parts.
Json run_recover(RecoverJob job);

/// One whole `prunus merge`: a model and a PEFT adapter for it, to a model directory.
struct MergeJob {
  std::string model_dir;
  std::string adapter_dir;
  std::string out_dir;
  bool force = false;
  at::Device device = at::Device(at::kCPU);
  std::string recipe = {};       ///< as RecoverJob's
  std::string model_asked = {};  ///< as RecoverJob's
};
Json run_merge(const MergeJob& job);

}  // namespace prunus
