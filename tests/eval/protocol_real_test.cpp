// Named protocols on real models against stock transformers and lm-evaluation-harness
// (tools/make_perplexity_goldens.py, tools/make_task_goldens.py).
#include <cmath>
#include <cstdio>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/eval/protocol.h"
#include "prunus/eval/wikitext.h"

#include "support/paths.h"

namespace prunus::test::protocol_real_test {
namespace {

Json golden(const std::string& name) { return read_json(source_path("tests/eval/golden/") + name); }

// The first `bytes` of a file, cut after the last line end.
std::string beginning(const std::string& path, size_t bytes) {
  const std::string text = read_file(path).substr(0, bytes);
  return text.substr(0, text.rfind('\n') + 1);
}

std::string file_of_case(const Json& one, const std::string& shared, const TempDir& dir) {
  const std::string path = shared + "/" + one.at("file").get<std::string>();
  if (one.at("bytes").is_null()) return path;
  const std::string ending = path.substr(path.rfind('.'));
  write_file(dir / ("beginning" + ending), beginning(path, one.at("bytes").get<size_t>()));
  return dir / ("beginning" + ending);
}

// The ids of the LlamaTokenizer that transformers 5 builds and the harness runs: unlike what
// tokenizer.json says, it puts no space mark in front of a text that begins with a space.
class HarnessTokenizer : public Tokenizer {
 public:
  explicit HarnessTokenizer(const std::string& folder) : file_(load_tokenizer(folder)) {
    special_ = {file_->bos_id(), file_->eos_id(), file_->adds_bos()};
    vocab_size_ = file_->vocab_size();
  }
  std::vector<int64_t> encode(std::string_view text) const override {
    return file_->encode(text.starts_with(' ') ? text.substr(1) : text);
  }
  std::string decode(std::span<const int64_t> ids, bool skip_special) const override {
    return file_->decode(ids, skip_special);
  }
  std::string_view kind() const override { return file_->kind(); }

 private:
  std::unique_ptr<Tokenizer> file_;
};

TEST(PaperPerplexity, EqualsAPlainLoopOverTransformers) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const TempDir dir;
  const Json goldens = golden("perplexity.json");
  for (const Json& one : goldens.at("cases")) {
    const auto name = one.at("model").get<std::string>();
    const Model model = open_model(shared + "/models/" + name);
    const auto tokenizer = load_tokenizer(shared + "/models/" + name);
    const std::string argument =
        one.at("text").get<std::string>() + "@128=" + file_of_case(one, shared, dir);
    const EvalText text =
        make_eval_text(parse_text_request(argument), {}, *tokenizer, goldens.at("seqlen"));
    const Perplexity result = score_text({model, at::kCPU}, text);
    const auto expected = one.at("ppl").get<double>();
    EXPECT_EQ(result.tokens, one.at("tokens").get<int64_t>()) << one;
    EXPECT_NEAR(result.ppl() / expected, 1.0, 1e-4) << one;
    std::printf("%s %s: ppl %.5f, off by %.1e\n", name.c_str(), argument.c_str(), result.ppl(),
                std::abs(result.ppl() / expected - 1));
  }
}

TEST(WikiTextRows, JoinToTheStringThatIsUsuallyTokenised) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const std::string folder = shared + "/corpora/wikitext-2-raw/";
  const std::vector<std::string> rows = wikitext_rows(read_file(folder + "wiki.test.raw"));
  std::string joined;
  for (size_t i = 0; i < rows.size(); ++i) joined += (i > 0 ? "\n\n" : "") + rows[i];
  EXPECT_EQ(rows.size(), 4358U);
  EXPECT_EQ(joined, read_file(folder + "wiki.test.joined.txt"));
}

TEST(LmEvalWord, EqualsTheHarnessPageByPage) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const Json expected = golden("word_perplexity.json");
  const std::string raw = read_file(shared + "/" + expected.at("file").get<std::string>());
  const std::vector<std::string> pages = wikitext_pages(raw);
  EXPECT_EQ(pages.size(), expected.at("pages").get<size_t>());
  const Json& documents = expected.at("documents");
  std::string some;
  for (size_t i = 0; i < documents.size(); ++i) {
    EXPECT_EQ(sha256(pages.at(i)), documents[i].at("page_sha256").get<std::string>());
    EXPECT_EQ(sha256(detokenise_wikitext(pages[i])),
              documents[i].at("detokenised_sha256").get<std::string>());
    some += pages[i];
  }
  const TempDir dir;
  write_file(dir / "some.raw", some);
  const std::string folder = shared + "/models/" + expected.at("model").get<std::string>();
  const Model model = open_model(folder);
  const EvalText text = make_eval_text(
      parse_text_request("wikitext2=" + dir / "some.raw"), {.rule = PerplexityRule::LmEvalWord},
      HarnessTokenizer(folder), model.config().max_position_embeddings);
  const Perplexity scored = score_text({model, at::kCPU}, text);
  ASSERT_EQ(text.documents.size(), documents.size());
  size_t sequence = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    const EvalDocument& document = text.documents[i];
    EXPECT_EQ(document.words, documents[i].at("words").get<int64_t>());
    EXPECT_EQ(document.bytes, documents[i].at("bytes").get<int64_t>());
    double nll = 0;
    for (int64_t k = 0; k < document.sequences; ++k) nll += scored.sequence_nll.at(sequence++);
    EXPECT_NEAR(nll / -documents[i].at("log_likelihood").get<double>(), 1.0, 1e-4);
  }
  const DocumentPerplexity result = document_perplexity(text, scored);
  const auto near = [&](double value, const char* key) {
    EXPECT_NEAR(value / expected.at(key).get<double>(), 1.0, 1e-4) << key;
    std::printf("%s %.6g, off by %.1e\n", key, value,
                std::abs(value / expected.at(key).get<double>() - 1));
  };
  near(exp_of(result.nll_per_word).value, "word_perplexity");
  near(exp_of(result.nll_per_byte).value, "byte_perplexity");
  near(result.nll_per_byte.value / std::log(2.0), "bits_per_byte");
}

}  // namespace
}  // namespace prunus::test::protocol_real_test
