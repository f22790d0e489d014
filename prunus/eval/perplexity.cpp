#include "prunus/eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/calib/stream.h"
#include "prunus/model/head.h"
#include "prunus/text/dataset.h"

namespace prunus {
namespace {

constexpr int64_t kBatchTokens = 4096;
constexpr int64_t kDefaultChunk = 128;

std::vector<int64_t> with_bos(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int64_t> ids = tokenizer.encode(text);
  if (tokenizer.adds_bos() && tokenizer.bos_id()) ids.insert(ids.begin(), *tokenizer.bos_id());
  return ids;
}

void cut_into_chunks(const std::vector<int64_t>& ids, int64_t seqlen, const std::string& path,
                     EvalText& text) {
  const auto length = static_cast<size_t>(seqlen);
  PRUNUS_CHECK(ids.size() >= length, Corrupt, path, ": ", ids.size(),
               " tokens, less than one chunk of ", seqlen, "; use a longer text or --seqlen");
  for (size_t begin = 0; begin + length <= ids.size(); begin += length) {
    const auto first = ids.begin() + static_cast<ptrdiff_t>(begin);
    text.sequences.emplace_back(first, first + seqlen);
  }
}

// Sequence numbers that go through the model together, padded to the longest.
struct PaddedBatch {
  std::vector<size_t> rows;
  TokenBatch batch;
};

PaddedBatch pad(const std::vector<std::vector<int64_t>>& sequences, std::vector<size_t> rows) {
  size_t longest = 0;
  for (const size_t row : rows) longest = std::max(longest, sequences[row].size());
  // The padding id does not matter: causal attention hides it and its positions are not scored.
  at::Tensor ids =
      at::zeros({static_cast<int64_t>(rows.size()), static_cast<int64_t>(longest)}, at::kLong);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy(sequences[rows[i]].begin(), sequences[rows[i]].end(),
              ids.data_ptr<int64_t>() + i * longest);
  }
  return {std::move(rows), {ids}};
}

void score_batch(const Head& head, const PaddedBatch& padded, const at::Tensor& hidden,
                 const std::vector<std::vector<int64_t>>& sequences, Perplexity& result) {
  const int64_t last = hidden.size(1) - 1;
  const at::Tensor targets = padded.batch.ids.narrow(1, 1, last).to(hidden.device()).flatten();
  const at::Tensor nll = head.token_nll(hidden.narrow(1, 0, last).flatten(0, 1), targets)
                             .view({-1, last})
                             .to(at::kCPU, at::kDouble);
  for (size_t i = 0; i < padded.rows.size(); ++i) {
    const auto scored = static_cast<int64_t>(sequences[padded.rows[i]].size()) - 1;
    result.sequence_nll[padded.rows[i]] =
        nll[static_cast<int64_t>(i)].narrow(0, 0, scored).sum().item<double>();
  }
}

// Long sequences first, neighbours in a batch, as many batches as one wave of hidden states holds.
std::vector<std::vector<PaddedBatch>> make_waves(const std::vector<std::vector<int64_t>>& sequences,
                                                 int64_t wave_tokens) {
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
    waves.back().push_back(pad(sequences, {first, stop}));
    begin = end;
  }
  return waves;
}

}  // namespace

double Perplexity::ppl() const { return std::exp(nll_sum / static_cast<double>(tokens)); }

EvalText read_eval_text(const std::string& path, const Tokenizer& tokenizer,
                        std::optional<int64_t> seqlen, int64_t context) {
  PRUNUS_CHECK(!seqlen || (*seqlen >= 2 && *seqlen <= context), InvalidArgument, "--seqlen ",
               seqlen.value_or(0), " is not within 2 and the model's context of ", context);
  EvalText text;
  const std::vector<std::string> documents = read_documents(path);
  if (!is_jsonl(path)) {
    const int64_t length = seqlen.value_or(std::min(kDefaultChunk, context));
    text.protocol = c10::str("chunked-", length);
    cut_into_chunks(with_bos(tokenizer, documents.at(0)), length, path, text);
    return text;
  }
  const int64_t length = seqlen.value_or(context);
  text.protocol = c10::str("documents-", length);
  for (const std::string& document : documents) {
    std::vector<int64_t> ids = with_bos(tokenizer, document);
    if (static_cast<int64_t>(ids.size()) > length) ids.resize(static_cast<size_t>(length));
    if (ids.size() >= 2) text.sequences.push_back(std::move(ids));
  }
  PRUNUS_CHECK(!text.sequences.empty(), Corrupt, path, ": no document has two tokens");
  return text;
}

Perplexity score_sequences(const Model& model, const std::vector<std::vector<int64_t>>& sequences,
                           at::Device device, int64_t hidden_bytes) {
  const at::NoGradGuard no_grad;
  Perplexity result;
  result.sequence_nll.assign(sequences.size(), 0.0);
  for (const auto& sequence : sequences) {
    PRUNUS_CHECK(sequence.size() >= 2, InvalidArgument, "a sequence to score needs two tokens");
    result.tokens += static_cast<int64_t>(sequence.size()) - 1;
  }
  const int64_t wave_tokens = std::max<int64_t>(1, hidden_bytes / 4 / model.config().hidden_size);
  const BlockStream stream(model, device);
  const Head head(model, device);
  for (const std::vector<PaddedBatch>& wave : make_waves(sequences, wave_tokens)) {
    std::vector<TokenBatch> batches;
    for (const PaddedBatch& padded : wave) batches.push_back(padded.batch);
    std::vector<at::Tensor> hidden = stream.embed(batches);
    stream.forward(hidden);
    for (size_t i = 0; i < wave.size(); ++i)
      score_batch(head, wave[i], hidden[i], sequences, result);
  }
  result.nll_sum = std::accumulate(result.sequence_nll.begin(), result.sequence_nll.end(), 0.0);
  PRUNUS_CHECK(std::isfinite(result.nll_sum), Numeric, "the summed −log p is ", result.nll_sum,
               "; the model overflows on this text in FP32");
  return result;
}

}  // namespace prunus
