#include "prunus/eval/divergence.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <optional>
#include <unistd.h>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/temporary.h"
#include "prunus/eval/top_k_cache.h"
#include "prunus/model/model_files.h"

namespace prunus {
namespace {

constexpr int64_t kLogitBytes = int64_t{128} << 20;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// use(begin, logits FP32 [tokens, vocab], targets) for some places of the batch after others.
template <typename Use>
void for_each_piece(const LmHead& head, const ScoredBatch& batch, int64_t vocab, Use use) {
  const int64_t tokens = batch.targets.size(0);
  const int64_t step = std::max<int64_t>(1, kLogitBytes / 4 / vocab);
  for (int64_t begin = 0; begin < tokens; begin += step) {
    const int64_t count = std::min(step, tokens - begin);
    use(begin, head.logits(batch.hidden.narrow(0, begin, count)).to(at::kFloat),
        batch.targets.narrow(0, begin, count).unsqueeze(1));
  }
}

// Uses up `logits`.
TopK top_of(at::Tensor logits, const at::Tensor& targets, int64_t k) {
  const at::Tensor log_sum = logits.logsumexp(1, true);
  const auto [top, ids] = logits.topk(k, 1);
  const at::Tensor target = logits.gather(1, targets) - log_sum;
  const at::Tensor log_p = top - log_sum;
  logits.scatter_(1, ids, kMinusInfinity);
  const at::Tensor rest = logits.logsumexp(1) - log_sum.squeeze(1);
  return {ids.to(at::kCPU, at::kInt), log_p.to(at::kCPU), rest.to(at::kCPU),
          target.squeeze(1).to(at::kCPU)};
}

// Figures of one place each, FP64 [tokens] on the CPU.
struct PlaceFigures {
  at::Tensor kl, agreement, dense_nll, model_nll;
};

at::Tensor to_double(const at::Tensor& tensor) { return tensor.to(at::kCPU).to(at::kDouble); }

// Uses up `logits`, the model's at the places of `dense`.
PlaceFigures compare(at::Tensor logits, const at::Tensor& targets, const TopK& dense) {
  const at::Tensor ids = dense.ids.to(logits.device(), at::kLong);
  const at::Tensor log_sum = logits.logsumexp(1, true);
  const at::Tensor kept = logits.gather(1, ids);
  // Of equal logits either may be called the likeliest, so the values are compared.
  const at::Tensor agreement = kept.select(1, 0) >= logits.amax(1);
  const at::Tensor nll = log_sum - logits.gather(1, targets);
  logits.scatter_(1, ids, kMinusInfinity);
  const at::Tensor log_q_rest = to_double(logits.logsumexp(1) - log_sum.squeeze(1));
  const at::Tensor log_q = to_double(kept - log_sum);
  const at::Tensor log_p = to_double(dense.log_p);
  const at::Tensor log_p_rest = to_double(dense.log_rest);
  // Nothing is left where all tokens are kept: 0 · log 0 counts as 0.
  const at::Tensor rest =
      at::where(log_p_rest.isinf(), 0.0, log_p_rest.exp() * (log_p_rest - log_q_rest));
  return {(log_p.exp() * (log_p - log_q)).sum(1) + rest, to_double(agreement),
          -to_double(dense.target_log_p), to_double(nll.squeeze(1))};
}

// Sums of each sequence.
struct SequenceSums {
  std::vector<double> kl, agreement, dense_nll, model_nll, tokens;
  explicit SequenceSums(size_t count)
      : kl(count), agreement(count), dense_nll(count), model_nll(count), tokens(count) {}

  void add(const ScoredBatch& batch, const PlaceFigures& places) {
    int64_t begin = 0;
    for (size_t i = 0; i < batch.sequences.size(); ++i) {
      const size_t to = batch.sequences[i];
      const int64_t count = batch.counts[i];
      const auto sum = [&](const at::Tensor& of) {
        return of.narrow(0, begin, count).sum().item<double>();
      };
      kl[to] = sum(places.kl);
      agreement[to] = sum(places.agreement);
      dense_nll[to] = sum(places.dense_nll);
      model_nll[to] = sum(places.model_nll);
      tokens[to] = static_cast<double>(count);
      begin += count;
    }
  }
};

int64_t scored_tokens(const EvalText& text) {
  int64_t tokens = 0;
  for (const auto& sequence : text.sequences) tokens += static_cast<int64_t>(sequence.size()) - 1;
  if (text.scored.empty()) return tokens;
  return std::accumulate(text.scored.begin(), text.scored.end(), int64_t{0});
}

std::string hash_of_ids(const EvalText& text) {
  std::string bytes;
  const auto add = [&](int64_t value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  for (size_t i = 0; i < text.sequences.size(); ++i) {
    add(static_cast<int64_t>(text.sequences[i].size()));
    add(text.scored.empty() ? -1 : text.scored[i]);
    for (const int64_t id : text.sequences[i]) add(id);
  }
  return sha256(bytes);
}

TopKKey key_of(const EvalText& text, const DivergenceOptions& options, int64_t vocab) {
  const int64_t k = std::min(options.top_k, vocab);
  const std::string hash = sha256(c10::str(options.dense_hash, " ", hash_of_ids(text), " ", vocab));
  return {hash, k, scored_tokens(text)};
}

void write_dense(const ScoringModel& dense, const EvalText& text, const std::string& path,
                 const TopKKey& key) {
  TopKWriter writer(path, key);
  const int64_t vocab = dense.model.config().vocab_size;
  for_each_scored_batch(dense, text, [&](const LmHead& head, const ScoredBatch& batch) {
    for_each_piece(head, batch, vocab, [&](int64_t, at::Tensor logits, const at::Tensor& targets) {
      writer.add(top_of(std::move(logits), targets, key.k));
    });
  });
  writer.finish();
}

PlaceFigures join(const std::vector<PlaceFigures>& pieces) {
  std::vector<at::Tensor> kl, agreement, dense_nll, model_nll;
  for (const PlaceFigures& piece : pieces) {
    kl.push_back(piece.kl);
    agreement.push_back(piece.agreement);
    dense_nll.push_back(piece.dense_nll);
    model_nll.push_back(piece.model_nll);
  }
  return {at::cat(kl), at::cat(agreement), at::cat(dense_nll), at::cat(model_nll)};
}

SequenceSums compare_with(const ScoringModel& model, const EvalText& text, TopKReader& dense) {
  SequenceSums sums(text.sequences.size());
  const int64_t vocab = model.model.config().vocab_size;
  for_each_scored_batch(model, text, [&](const LmHead& head, const ScoredBatch& batch) {
    std::vector<PlaceFigures> pieces;
    for_each_piece(head, batch, vocab, [&](int64_t, at::Tensor logits, const at::Tensor& targets) {
      const TopK block = dense.next(logits.size(0));
      pieces.push_back(compare(std::move(logits), targets, block));
    });
    sums.add(batch, join(pieces));
  });
  return sums;
}

// A name for a temporary file, removed at the end.
class ScratchFile {
 public:
  ScratchFile() {
    const std::string folder = temporary_folder("name a --kl-cache");
    path_ = folder + "/prunus-dense-XXXXXX";
    const int file = ::mkstemp(path_.data());
    PRUNUS_CHECK(file >= 0, Io, folder, ": cannot make a temporary file; name a --kl-cache");
    ::close(file);
  }
  ~ScratchFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Divergence summary(const SequenceSums& sums, const TopKKey& key) {
  Divergence result;
  result.tokens = key.tokens;
  result.top_k = key.k;
  result.kl = ratio_estimate(sums.kl, sums.tokens);
  result.agreement = ratio_estimate(sums.agreement, sums.tokens);
  result.dense_nll = ratio_estimate(sums.dense_nll, sums.tokens);
  result.model_nll = ratio_estimate(sums.model_nll, sums.tokens);
  PRUNUS_CHECK(std::isfinite(result.kl.value), Numeric, "the divergence is ", result.kl.value,
               "; a model overflows on this text in FP32");
  return result;
}

}  // namespace

Divergence measure_divergence(const ScoringModel& dense, const ScoringModel& model,
                              const EvalText& text, const DivergenceOptions& options) {
  const int64_t vocab = dense.model.config().vocab_size;
  PRUNUS_CHECK(model.model.config().vocab_size == vocab, InvalidArgument,
               "the dense model has a vocabulary of ", vocab, ", the other of ",
               model.model.config().vocab_size, "; distributions cannot be compared");
  PRUNUS_CHECK(options.top_k >= 1, InvalidArgument, "divergence: top_k is ", options.top_k,
               ", expected at least 1");
  PRUNUS_CHECK(options.cache.empty() || !options.dense_hash.empty(), InvalidArgument,
               "divergence: a cache needs a hash of the dense model");
  const TopKKey key = key_of(text, options, vocab);
  std::optional<ScratchFile> scratch;
  if (options.cache.empty()) scratch.emplace();
  const std::string& path = scratch ? scratch->path() : options.cache;
  const bool reused = !scratch && holds_top_k(path, key);
  if (!reused) write_dense(dense, text, path, key);
  TopKReader reader(path, key);
  Divergence result = summary(compare_with(model, text, reader), key);
  result.exact = key.k == vocab;
  result.cache_reused = reused;
  return result;
}

std::string checkpoint_hash(const std::string& model_dir) {
  std::string hashes = model_config_sha256(model_dir);
  for (const std::string& path : weight_files(model_dir)) hashes += sha256_file(path);
  return sha256(hashes);
}

}  // namespace prunus
