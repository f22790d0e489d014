#pragma once
#include <functional>
#include <string>
#include <vector>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include "prunus/base/json.h"
#include "prunus/eval/divergence.h"
#include "prunus/eval/protocol.h"
#include "prunus/eval/task_run.h"

namespace prunus {

/// An evaluation: perplexities, zero-shot tasks, divergence from another model; at least one of
/// them.
struct EvalJob {
  std::string model_dir;
  std::vector<std::string> texts = {};  ///< to measure perplexity on: FILE or NAME[@N][=FILE]
  ProtocolOptions protocol = {};        ///< of these and of kl_text
  /// Tasks, where `names` is not empty; then `dir` is needed. With score.journal an interrupted
  /// run goes on behind what was scored; the journal stays when the run has ended.
  TaskRunOptions tasks = {};
  /// JSON of an evaluation of the unpruned model: figures are also told as fractions of its.
  std::string relative_to = {};
  std::string dense_dir = {};         ///< the unpruned model: measure KL(it || model) …
  std::string kl_text = {};           ///< … on this text; both or none
  DivergenceOptions divergence = {};  ///< but for dense_hash, which the run fills in
  /// Of matrix products and attention: Float, BFloat16 or Double. Residual stream, norms, softmax
  /// and sums are FP32 at least.
  at::ScalarType precision = at::kFloat;
  at::Device device = at::kCPU;
  std::string recipe = {};  ///< file that options were read from, for the record
  std::string model_asked =
      {};  ///< the model as it was asked for, for the record; empty: model_dir
  std::string dense_asked = {};  ///< likewise
  /// Called with true before tasks are scored and with false behind them, however that ends: for a
  /// program that wants other settings of its process meanwhile. Must not throw. Empty: nothing.
  std::function<void(bool)> around_tasks = {};
};

/// What can be known before the work: something is asked for, what belongs together is there, the
/// texts exist. Throws InvalidArgument, NotFound; Corrupt for a --kl-cache of another kind.
void check_job(const EvalJob& job);

/// Every path that the job reads, which no output may replace. Throws as find_text.
std::vector<std::string> inputs_of(const EvalJob& job);

/// Evaluates. → run.json's content (docs/formats/run.md, docs/eval.md); nothing is written but the
/// journal and the divergence's cache. Tasks come first, since they are what resuming saves. Where
/// the run ends early and the journal holds scores, the message says where.
/// Changes no setting of the process: a program that scores tasks on the CPU does well to call
/// keep_large_blocks() (base/memory.h) around them, since batches ask for blocks of ever other
/// sizes, and return_large_blocks() behind, since a perplexity's peak would be a tenth higher.
/// Throws as check_job, open_model, run_tasks, score_text and measure_divergence do.
Json run_eval(const EvalJob& job);

}  // namespace prunus
