#include "prunus/eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/calib/stream.h"
#include "prunus/text/dataset.h"

namespace prunus {
namespace {

constexpr int64_t kBatchTokens = 2048;

int64_t scored_of(const EvalText& text, size_t i) {
  return text.scored.empty() ? static_cast<int64_t>(text.sequences[i].size()) - 1 : text.scored[i];
}

void check_sequences(const EvalText& text) {
  for (size_t i = 0; i < text.sequences.size(); ++i) {
    const auto length = static_cast<int64_t>(text.sequences[i].size());
    PRUNUS_CHECK(length >= 2, InvalidArgument, "a sequence to score needs two tokens, sequence ", i,
                 " has ", length);
    const int64_t scored = scored_of(text, i);
    PRUNUS_CHECK(scored >= 1 && scored < length, InvalidArgument, "sequence ", i, " of ", length,
                 " tokens: ", scored, " to score, expected 1 to ", length - 1);
  }
}

// Sequences that go through the model together, padded to the longest. The last id of each is only
// predicted, so it is no input.
struct PaddedBatch {
  std::vector<size_t> rows;
  TokenBatch batch;
};

PaddedBatch pad(const EvalText& text, std::vector<size_t> rows) {
  size_t longest = 0;
  for (const size_t row : rows) longest = std::max(longest, text.sequences[row].size() - 1);
  // The padding id does not matter: causal attention hides it and its positions are not scored.
  at::Tensor ids =
      at::zeros({static_cast<int64_t>(rows.size()), static_cast<int64_t>(longest)}, at::kLong);
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<int64_t>& sequence = text.sequences[rows[i]];
    std::copy(sequence.begin(), sequence.end() - 1, ids.data_ptr<int64_t>() + i * longest);
  }
  return {std::move(rows), {ids}};
}

// The places that predict scored ids, out of the hidden states of a padded batch.
ScoredBatch select(const EvalText& text, const PaddedBatch& padded, const at::Tensor& hidden) {
  std::vector<int64_t> places, targets;
  ScoredBatch batch;
  batch.sequences = padded.rows;
  for (size_t i = 0; i < padded.rows.size(); ++i) {
    const std::vector<int64_t>& sequence = text.sequences[padded.rows[i]];
    const int64_t scored = scored_of(text, padded.rows[i]);
    const int64_t row = static_cast<int64_t>(i) * hidden.size(1);
    const int64_t end = static_cast<int64_t>(sequence.size()) - 1;
    for (int64_t place = end - scored; place < end; ++place) places.push_back(row + place);
    targets.insert(targets.end(), sequence.end() - scored, sequence.end());
    batch.counts.push_back(scored);
  }
  const at::Tensor flat = hidden.flatten(0, 1);
  batch.hidden = static_cast<int64_t>(places.size()) == flat.size(0)
                     ? flat
                     : flat.index_select(0, at::tensor(places, at::kLong).to(hidden.device()));
  batch.targets = at::tensor(targets, at::kLong).to(hidden.device());
  return batch;
}

// Long sequences first, neighbours in a batch, as many batches as one wave of hidden states holds.
std::vector<std::vector<PaddedBatch>> make_waves(const EvalText& text, int64_t wave_tokens) {
  const auto& sequences = text.sequences;
  std::vector<size_t> order(sequences.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sequences[a].size() > sequences[b].size(); });
  std::vector<std::vector<PaddedBatch>> waves;
  int64_t used = wave_tokens;
  for (size_t begin = 0; begin < order.size();) {
    const auto longest = static_cast<int64_t>(sequences[order[begin]].size());
    const auto count = static_cast<size_t>(std::max<int64_t>(1, kBatchTokens / longest));
    const size_t end = std::min(order.size(), begin + count);
    const int64_t tokens = static_cast<int64_t>(end - begin) * longest;
    if (used + tokens > wave_tokens) {
      waves.emplace_back();
      used = 0;
    }
    used += tokens;
    const auto first = order.begin() + static_cast<ptrdiff_t>(begin);
    const auto stop = order.begin() + static_cast<ptrdiff_t>(end);
    waves.back().push_back(pad(text, {first, stop}));
    begin = end;
  }
  return waves;
}

EvalText read_documents_text(const std::vector<std::string>& documents, const Tokenizer& tokenizer,
                             int64_t length, const std::string& path) {
  EvalText text;
  text.protocol = c10::str("documents-", length);
  text.seqlen = length;
  std::string whole;
  for (const std::string& document : documents) {
    whole += document + '\n';
    std::vector<int64_t> ids = encode_with_bos(tokenizer, document);
    if (static_cast<int64_t>(ids.size()) > length) ids.resize(static_cast<size_t>(length));
    if (ids.size() >= 2) text.sequences.push_back(std::move(ids));
  }
  PRUNUS_CHECK(!text.sequences.empty(), Corrupt, path, ": no document has two tokens");
  text.sha256 = sha256(whole);
  return text;
}

}  // namespace

std::vector<int64_t> encode_with_bos(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int64_t> ids = tokenizer.encode(text);
  const std::vector<int64_t> prefix = tokenizer.prefix_ids();
  ids.insert(ids.begin(), prefix.begin(), prefix.end());
  ids.insert(ids.end(), tokenizer.suffix_ids().begin(), tokenizer.suffix_ids().end());
  return ids;
}

std::vector<std::vector<int64_t>> chunks_of(const Tokenizer& tokenizer, const std::string& text,
                                            int64_t seqlen, const std::string& where) {
  const std::vector<int64_t> ids = encode_with_bos(tokenizer, text);
  const auto length = static_cast<size_t>(seqlen);
  PRUNUS_CHECK(ids.size() >= length, Corrupt, where, ": ", ids.size(),
               " tokens, less than one chunk of ", seqlen, "; use a longer text or --seqlen");
  std::vector<std::vector<int64_t>> chunks;
  for (size_t begin = 0; begin + length <= ids.size(); begin += length) {
    const auto first = ids.begin() + static_cast<ptrdiff_t>(begin);
    chunks.emplace_back(first, first + seqlen);
  }
  return chunks;
}

int64_t checked_seqlen(std::optional<int64_t> seqlen, int64_t fallback, int64_t context) {
  const int64_t length = seqlen.value_or(std::min(fallback, context));
  PRUNUS_CHECK(length >= 2 && length <= context, InvalidArgument, "--seqlen ", length, " (or @",
               length, ") is not within 2 and the model's context of ", context);
  return length;
}

EvalText read_eval_text(const std::string& path, const Tokenizer& tokenizer,
                        std::optional<int64_t> seqlen, int64_t context) {
  const TextFile file = read_text_file(path);
  const bool json = file.is_json();
  const int64_t length = checked_seqlen(seqlen, json ? context : kDefaultChunk, context);
  const std::vector<std::string> documents = documents_of(file);
  if (json) return read_documents_text(documents, tokenizer, length, path);
  EvalText text;
  text.protocol = c10::str("chunked-", length);
  text.seqlen = length;
  text.sha256 = sha256(documents.at(0));
  text.sequences = chunks_of(tokenizer, documents.at(0), length, path);
  return text;
}

Estimate ratio_estimate(const std::vector<double>& sums, const std::vector<double>& weights) {
  const double weight = std::accumulate(weights.begin(), weights.end(), 0.0);
  Estimate estimate{std::accumulate(sums.begin(), sums.end(), 0.0) / weight, std::nullopt};
  if (sums.size() < 2) return estimate;
  double squares = 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    const double residual = sums[i] - estimate.value * weights[i];
    squares += residual * residual;
  }
  const auto n = static_cast<double>(sums.size());
  estimate.standard_error = std::sqrt(n / (n - 1) * squares) / weight;
  return estimate;
}

Estimate exp_of(const Estimate& estimate) {
  Estimate result{std::exp(estimate.value), std::nullopt};
  if (estimate.standard_error) result.standard_error = result.value * *estimate.standard_error;
  return result;
}

double Perplexity::ppl() const { return std::exp(nll_sum / static_cast<double>(tokens)); }

Estimate Perplexity::nll_per_token() const {
  return ratio_estimate(sequence_nll, {sequence_tokens.begin(), sequence_tokens.end()});
}

DocumentPerplexity document_perplexity(const EvalText& text, const Perplexity& scored) {
  std::vector<double> nll, tokens, words, bytes;
  size_t next = 0;
  for (const EvalDocument& document : text.documents) {
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < document.sequences; ++i, ++next) {
      sum += scored.sequence_nll.at(next);
      count += scored.sequence_tokens.at(next);
    }
    nll.push_back(sum);
    tokens.push_back(static_cast<double>(count));
    words.push_back(static_cast<double>(document.words));
    bytes.push_back(static_cast<double>(document.bytes));
  }
  return {ratio_estimate(nll, tokens), ratio_estimate(nll, words), ratio_estimate(nll, bytes)};
}

void for_each_scored_batch(const ScoringModel& scoring, const EvalText& text,
                           const UseScored& use) {
  const at::NoGradGuard no_grad;
  check_sequences(text);
  const int64_t wave_tokens =
      std::max<int64_t>(1, scoring.hidden_bytes / 4 / scoring.model.config().hidden_size);
  const BlockStream stream(scoring.model, scoring.device);
  const LmHead head(scoring.model, scoring.device);
  for (const std::vector<PaddedBatch>& wave : make_waves(text, wave_tokens)) {
    std::vector<TokenBatch> batches;
    for (const PaddedBatch& padded : wave) batches.push_back(padded.batch);
    std::vector<at::Tensor> hidden = stream.embed(batches);
    stream.forward(hidden);
    for (size_t i = 0; i < wave.size(); ++i) {
      use(head, select(text, wave[i], hidden[i].to(scoring.device)));
      hidden[i] = at::Tensor();
    }
  }
}

Perplexity score_text(const ScoringModel& scoring, const EvalText& text) {
  Perplexity result;
  result.sequence_nll.assign(text.sequences.size(), 0.0);
  result.sequence_tokens.assign(text.sequences.size(), 0);
  for_each_scored_batch(scoring, text, [&](const LmHead& head, const ScoredBatch& batch) {
    const at::Tensor nll = head.token_nll(batch.hidden, batch.targets).to(at::kCPU).to(at::kDouble);
    int64_t begin = 0;
    for (size_t i = 0; i < batch.sequences.size(); ++i) {
      const size_t sequence = batch.sequences[i];
      result.sequence_nll[sequence] = nll.narrow(0, begin, batch.counts[i]).sum().item<double>();
      result.sequence_tokens[sequence] = batch.counts[i];
      begin += batch.counts[i];
    }
    result.tokens += begin;
  });
  result.nll_sum = std::accumulate(result.sequence_nll.begin(), result.sequence_nll.end(), 0.0);
  PRUNUS_CHECK(std::isfinite(result.nll_sum), Numeric, "the summed −log p is ", result.nll_sum,
               "; the model overflows on this text in FP32");
  return result;
}

Perplexity score_sequences(const Model& model, const std::vector<std::vector<int64_t>>& sequences,
                           at::Device device, int64_t hidden_bytes) {
  return score_text({model, device, hidden_bytes}, {.protocol = {}, .sequences = sequences});
}

}  // namespace prunus
