#include "prunus/eval/request.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/parallel.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/calib/layer_loop.h"
#include "prunus/eval/request_rows.h"
#include "prunus/eval/score_journal.h"
#include "prunus/model/lm_head.h"

namespace prunus {
namespace {

// On a CPU more ids at once gain nothing once the products are efficient, and activations that
// leave the cache, or come from the system page by page, cost a third of a small model's time.
constexpr int64_t kCpuActivationBytes = int64_t{1} << 20;
constexpr int64_t kCpuBatchTokens = 512;

using RowSpan = std::span<const ScoreRow>;
using Wave = std::vector<RowSpan>;  // the batches of one pass over the layers

void check_ids(const std::vector<int64_t>& ids, int64_t vocab_size, size_t request) {
  for (const int64_t id : ids) {
    PRUNUS_CHECK(id >= 0 && id < vocab_size, InvalidArgument, "request ", request, ": token id ",
                 id, " is outside the model's vocabulary of ", vocab_size,
                 "; does the tokenizer belong to this model?");
  }
}

std::vector<CutRequest> cut(const Model& model, std::span<const ScoreRequest> requests,
                            int64_t max_length) {
  std::vector<CutRequest> result;
  result.reserve(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const ScoreRequest& one = requests[i];
    PRUNUS_CHECK(!one.context.empty() && !one.continuation.empty(), InvalidArgument, "request ", i,
                 ": ", one.context.size(), " ids of context and ", one.continuation.size(),
                 " of continuation; expected at least one of each");
    check_ids(one.context, model.config().vocab_size, i);
    check_ids(one.continuation, model.config().vocab_size, i);
    result.emplace_back(one, max_length);
  }
  return result;
}

int64_t max_length_of(const ModelConfig& config, const RequestOptions& options) {
  const bool endless = config.family->positions != Positions::Learned;
  PRUNUS_CHECK(
      options.max_length == 0 || endless || options.max_length <= config.max_position_embeddings,
      InvalidArgument, "--max-length ", options.max_length, ": the model has embeddings of ",
      config.max_position_embeddings, " positions only");
  return options.max_length == 0 ? config.max_position_embeddings : options.max_length;
}

std::vector<ScoreRow> rows_of_one(std::span<const CutRequest> requests) {
  std::vector<ScoreRow> rows;
  for (size_t i = 0; i < requests.size(); ++i)
    rows.push_back({{{i, 0}}, requests[i].inputs(), true});
  return rows;
}

// Neighbours of similar length and the same kind, long ones first: what needs most memory shows
// at once, and the estimate of the time left errs on the side of too much.
std::vector<RowSpan> make_score_batches(std::vector<ScoreRow>& rows, int64_t batch_tokens,
                                        bool equal_lengths) {
  std::stable_sort(rows.begin(), rows.end(), [](const ScoreRow& a, const ScoreRow& b) {
    return a.plain != b.plain ? b.plain : a.places > b.places;
  });
  std::vector<RowSpan> batches;
  for (size_t begin = 0; begin < rows.size();) {
    const auto room = static_cast<size_t>(std::max<int64_t>(1, batch_tokens / rows[begin].places));
    size_t end = begin + 1;
    while (end < rows.size() && end - begin < room && rows[end].plain == rows[begin].plain &&
           (!equal_lengths || rows[end].places == rows[begin].places)) {
      ++end;
    }
    batches.push_back(RowSpan(rows).subspan(begin, end - begin));
    begin = end;
  }
  return batches;
}

int64_t batch_tokens_for(const Model& model, at::Device device, int64_t wanted) {
  if (!device.is_cpu()) return wanted;
  int64_t widest = model.config().hidden_size;
  for (const LayerShape& layer : model.config().layers) {
    widest = std::max(widest, layer.intermediate_size);
  }
  return std::min(wanted, std::max(kCpuBatchTokens, kCpuActivationBytes / 4 / widest));
}

std::vector<Wave> make_waves(const std::vector<RowSpan>& batches, int64_t hidden_size,
                             int64_t hidden_bytes) {
  std::vector<Wave> waves;
  int64_t used = hidden_bytes;
  for (const RowSpan& batch : batches) {
    const int64_t longest = batch.front().places;
    // Of a tree its biases are kept too, about a quarter of all pairs of places, in FP32.
    const int64_t bias = batch.front().plain ? 0 : longest;
    const int64_t bytes = static_cast<int64_t>(batch.size()) * longest * (4 * hidden_size + bias);
    if (used + bytes > hidden_bytes) {
      waves.emplace_back();
      used = 0;
    }
    used += bytes;
    waves.back().push_back(batch);
  }
  return waves;
}

// What is in the journal need not be scored. A pass finishes whole rows.
void drop_finished(std::vector<ScoreRow>& rows, const ScoreJournal& journal,
                   std::vector<ScoreResult>& results) {
  std::vector<bool> finished(results.size(), false);
  for (const auto& [request, result] : journal.finished()) {
    results[request] = result;
    finished[request] = true;
  }
  std::erase_if(rows, [&](const ScoreRow& row) {
    return std::all_of(row.members.begin(), row.members.end(),
                       [&](const ScoreRow::Member& member) { return finished[member.request]; });
  });
}

class Scorer {
 public:
  Scorer(const Model& model, at::Device device, std::span<const CutRequest> requests,
         int64_t total_batches)
      : model_(model),
        device_(device),
        decoder_(model.config(), Decoder::Kernels::SmallHeads),
        head_(model, device),
        cursor_(model, device),
        requests_(requests),
        progress_("score: layer × batch", total_batches * model.layer_count()) {}

  void run(const Wave& wave, std::vector<ScoreResult>& results) {
    std::vector<ScoreBatch> batches(wave.size());
    std::vector<at::Tensor> hidden(wave.size());
    for_each_batch(wave.size(),
                   [&](size_t i) { batches[i] = on_device(make_score_batch(requests_, wave[i])); });
    // One after the other: a Model remembers what it has checked, and is not for several threads.
    for (size_t i = 0; i < wave.size(); ++i) {
      const at::Tensor places = batches[i].tree ? batches[i].tree->positions : at::Tensor();
      hidden[i] = to_host(embed(model_, batches[i].ids, device_, places));
    }
    const auto pass = [&](int layer, const BlockWeights& weights) {
      for_each_batch(wave.size(), [&](size_t i) {
        hidden[i] = to_host(run_block(layer, weights, batches[i], hidden[i].to(device_)));
        const std::lock_guard lock(progress_lock_);
        progress_.step();
      });
    };
    for_each_layer(cursor_, {0, model_.layer_count()}, LayerOrder::FirstToLast, pass);
    for_each_batch(wave.size(),
                   [&](size_t i) { score(batches[i], hidden[i].to(device_)[0], results); });
  }

 private:
  // On a CPU each batch on one thread: no thread waits within an operator.
  void for_each_batch(size_t count, const std::function<void(size_t)>& body) const {
    if (device_.is_cpu()) {
      for_each_parallel(static_cast<int64_t>(count),
                        [&](int64_t i) { body(static_cast<size_t>(i)); });
    } else {
      for (size_t i = 0; i < count; ++i) body(i);
    }
  }

  ScoreBatch on_device(ScoreBatch batch) const {
    batch.scored = batch.scored.to(device_);
    if (!batch.tree) return batch;
    batch.tree->positions = batch.tree->positions.to(device_);
    for (TokenTree::Branches& one : batch.tree->branches) {
      for (at::Tensor* tensor :
           {&one.starts, &one.lengths, &one.queries, &one.keys, &one.bias, &one.filled}) {
        *tensor = tensor->to(device_);
      }
    }
    return batch;
  }

  // Behind the last attention only the places that predict are of use: [1, n, hidden_size].
  at::Tensor run_block(int layer, const BlockWeights& weights, const ScoreBatch& batch,
                       const at::Tensor& hidden) const {
    const at::Tensor attention = batch.tree
                                     ? decoder_.attention_part(layer, weights, hidden, *batch.tree)
                                     : decoder_.attention_part(layer, weights, hidden);
    if (layer + 1 < model_.layer_count()) {
      return decoder_.finish_block(layer, weights, hidden, attention);
    }
    const auto scored = [&](const at::Tensor& all) {
      return all.flatten(0, 1).index_select(0, batch.scored).unsqueeze(0);
    };
    return decoder_.finish_block(layer, weights, scored(hidden), scored(attention));
  }

  void score(const ScoreBatch& batch, const at::Tensor& states, std::vector<ScoreResult>& results) {
    std::vector<int64_t> places, ids;
    for (const ScoreBatch::Target& target : batch.targets) {
      results[target.request] = {.log_likelihood = 0, .greedy = true};
      places.push_back(target.place);
      ids.push_back(target.id);
    }
    const LmHead::Scored scored = head_.score(states, at::tensor(places, at::kLong).to(device_),
                                              at::tensor(ids, at::kLong).to(device_));
    const at::Tensor log_p = scored.log_p.to(at::kCPU, at::kDouble);
    const at::Tensor best = scored.likeliest.to(at::kCPU);
    for (size_t i = 0; i < batch.targets.size(); ++i) {
      ScoreResult& result = results[batch.targets[i].request];
      result.log_likelihood += log_p.const_data_ptr<double>()[i];
      result.greedy = result.greedy && best.const_data_ptr<bool>()[i];
    }
  }

  const Model& model_;
  at::Device device_;
  Decoder decoder_;
  LmHead head_;
  LayerCursor cursor_;
  std::span<const CutRequest> requests_;
  std::mutex progress_lock_;
  Progress progress_;
};

std::vector<size_t> requests_of(const Wave& wave) {
  std::vector<size_t> requests;
  for (const RowSpan& rows : wave) {
    for (const ScoreRow& row : rows) {
      for (const ScoreRow::Member& member : row.members) requests.push_back(member.request);
    }
  }
  return requests;
}

void check_finite_results(std::span<const size_t> requests,
                          const std::vector<ScoreResult>& results) {
  for (const size_t request : requests) {
    PRUNUS_CHECK(std::isfinite(results[request].log_likelihood), Numeric, "request ", request,
                 ": log-likelihood ", results[request].log_likelihood,
                 "; the model overflows on these ids in FP32");
  }
}

}  // namespace

std::vector<ScoreResult> score_requests(const Model& model, std::span<const ScoreRequest> requests,
                                        at::Device device, const RequestOptions& options) {
  const at::NoGradGuard no_grad;
  std::vector<ScoreResult> results(requests.size());
  if (requests.empty()) return results;
  const ModelConfig& config = model.config();
  const int64_t max_length = max_length_of(config, options);
  const std::vector<CutRequest> cut_requests = cut(model, requests, max_length);
  // Where the rotation depends on a sequence's length, each stands alone, beside equally long ones.
  const bool alone = config.rope.by_length();
  std::vector<ScoreRow> rows =
      alone ? rows_of_one(cut_requests) : make_score_rows(cut_requests, config.hidden_size);
  std::optional<ScoreJournal> journal;
  if (!options.journal.empty()) {
    journal.emplace(options.journal, score_key(model, requests, max_length), requests.size());
    drop_finished(rows, *journal, results);
    if (rows.empty()) return results;
  }
  const std::vector<RowSpan> batches =
      make_score_batches(rows, batch_tokens_for(model, device, options.batch_tokens), alone);
  Scorer scorer(model, device, cut_requests, static_cast<int64_t>(batches.size()));
  for (const Wave& wave : make_waves(batches, model.config().hidden_size, options.hidden_bytes)) {
    scorer.run(wave, results);
    const std::vector<size_t> scored = requests_of(wave);
    check_finite_results(scored, results);
    if (journal) journal->append(scored, results);
  }
  return results;
}

}  // namespace prunus
