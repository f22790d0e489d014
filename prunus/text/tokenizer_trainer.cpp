#include "prunus/text/tokenizer_trainer.h"

#include <map>
#include <string_view>
#include <unordered_map>

#include <c10/util/Exception.h>

#include <sentencepiece_trainer.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/progress.h"
#include "prunus/text/token_model.h"
#include "prunus/text/tokenizer_writer.h"
#include "prunus/text/training_words.h"
#include "prunus/text/utf8.h"

namespace prunus {
namespace {

using text::kFixedPieces;
using text::TrainingWords;

// Words with their counts, as sentencepiece's "tsv" input has them.
class WordIterator : public sentencepiece::SentenceIterator {
 public:
  explicit WordIterator(const std::map<std::string, int64_t>& counts)
      : at_(counts.begin()), end_(counts.end()) {
    spell();
  }
  bool done() const override { return at_ == end_; }
  void Next() override {
    ++at_;
    spell();
  }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void spell() {
    if (!done()) line_ = at_->first + "\t" + std::to_string(at_->second);
  }
  std::map<std::string, int64_t>::const_iterator at_, end_;
  std::string line_;
};

void check_options(const TokenizerTrainOptions& options) {
  PRUNUS_CHECK(options.vocab_size > kFixedPieces && options.vocab_size <= text::kMaxTokenId + 1,
               InvalidArgument, "vocab_size: got ", options.vocab_size, ", expected ",
               kFixedPieces + 1, " to ", text::kMaxTokenId + 1,
               " (3 special pieces and 256 bytes come first)");
  PRUNUS_CHECK(options.character_coverage > 0 && options.character_coverage <= 1, InvalidArgument,
               "character_coverage: got ", options.character_coverage,
               ", expected more than 0 and at most 1");
  PRUNUS_CHECK(options.model_max_length >= 1, InvalidArgument, "model_max_length: got ",
               options.model_max_length, ", expected at least 1");
}

void check_words(const TrainingWords& words, int64_t vocab_size) {
  PRUNUS_CHECK(!words.counts.empty(), InvalidArgument,
               "tokenizer: the text is empty; there is nothing to learn from");
  const int64_t least = kFixedPieces + words.character_count;
  PRUNUS_CHECK(vocab_size >= least, InvalidArgument, "vocab_size: got ", vocab_size,
               ", expected at least ", least, ": ", kFixedPieces, " fixed pieces and ",
               words.character_count,
               " characters; raise --vocab-size or lower --character-coverage");
}

std::unordered_map<std::string, std::string> trainer_arguments(
    const TrainingWords& words, const TokenizerTrainOptions& options) {
  // The coverage is in the words already. The characters are named nonetheless: in a long text the
  // library would round a coverage of almost 1 up and leave the rarest out.
  return {{"model_type", "bpe"},
          {"vocab_size", std::to_string(options.vocab_size)},
          {"hard_vocab_limit", "false"},
          {"input_format", "tsv"},
          {"max_sentence_length", "65536"},
          {"byte_fallback", "true"},
          {"character_coverage", "1.0"},
          {"required_chars", std::string(text::kSpaceMark) + words.characters.substr(1)},
          {"split_digits", options.split_digits ? "true" : "false"},
          {"allow_whitespace_only_pieces", "true"},
          {"normalization_rule_name", "identity"},
          {"remove_extra_whitespaces", "false"},
          {"add_dummy_prefix", "false"},
          {"num_threads", "1"},
          {"minloglevel", "3"}};
}

// The words carry the space in front of a text, so that words which begin a line go without, as
// they do when they are encoded. The finished model is to put the space there itself:
// ModelProto.normalizer_spec (3) .add_dummy_prefix (3) = true. Of a protobuf field that comes twice
// the parts are merged and the later value counts.
constexpr std::string_view kAddDummyPrefix("\x1A\x02\x18\x01", 4);

void learn(const TrainingWords& words, const TokenizerTrainOptions& options,
           sentencepiece::SentencePieceProcessor& processor) {
  WordIterator iterator(words.counts);
  std::string model;
  auto status = sentencepiece::SentencePieceTrainer::Train(trainer_arguments(words, options),
                                                           &iterator, &model);
  PRUNUS_CHECK(status.ok(), InvalidArgument, "sentencepiece: ", status.ToString());
  status = processor.LoadFromSerializedProto(model.append(kAddDummyPrefix));
  TORCH_INTERNAL_ASSERT(status.ok(), status.ToString());
  PRUNUS_CHECK(processor.GetPieceSize() == options.vocab_size, InvalidArgument, "vocab_size: got ",
               options.vocab_size, ", but the text has words for ", processor.GetPieceSize(),
               " pieces at most; lower --vocab-size or give more text");
}

std::vector<std::string> pieces_of(const sentencepiece::SentencePieceProcessor& processor) {
  std::vector<std::string> pieces;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    pieces.push_back(processor.IdToPiece(id));
    const bool fixed = processor.IsUnknown(id) || processor.IsControl(id) || processor.IsByte(id);
    TORCH_INTERNAL_ASSERT(fixed == (id < kFixedPieces), "piece ", id, " is '", pieces.back(), "'");
  }
  return pieces;
}

}  // namespace

TrainedTokenizer train_tokenizer(const std::vector<std::string>& documents,
                                 const TokenizerTrainOptions& options, const std::string& dir) {
  check_options(options);
  const TrainingWords words = text::count_words(documents, options.character_coverage);
  check_words(words, options.vocab_size);
  const int64_t learned = options.vocab_size - kFixedPieces - words.character_count;
  log_info(c10::str("learning ", learned, " pieces from ", words.counts.size(),
                    " different words (by sentencepiece; cannot be interrupted)"));
  sentencepiece::SentencePieceProcessor processor;
  learn(words, options, processor);
  check_interrupted();
  write_file(dir + "/tokenizer.model", processor.serialized_model_proto());
  text::write_fast_tokenizer(pieces_of(processor), options.model_max_length, dir);
  return {options.vocab_size, words.character_count, learned};
}

}  // namespace prunus
