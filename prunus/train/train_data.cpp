#include "prunus/train/train_data.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/named.h"
#include "prunus/base/progress.h"
#include "prunus/base/rng.h"
#include "prunus/text/chat_format.h"
#include "prunus/text/dataset.h"
#include "prunus/text/instruct.h"

namespace prunus {
namespace {

constexpr int64_t kMostRowTokens = int64_t{1} << 30;
constexpr int64_t kMostValidRows = int64_t{1} << 30;

constexpr std::pair<std::string_view, DataFormat> kFormats[] = {{"auto", DataFormat::Auto},
                                                                {"text", DataFormat::Text},
                                                                {"instruct", DataFormat::Instruct},
                                                                {"chat", DataFormat::Chat}};
constexpr std::pair<std::string_view, Packing> kPackings[] = {{"auto", Packing::Auto},
                                                              {"pack", Packing::Pack},
                                                              {"pad", Packing::Pad},
                                                              {"fill", Packing::Fill}};

using Rows = std::vector<TrainRow>;

void check_options(const DataOptions& options) {
  PRUNUS_CHECK(options.row_tokens >= 2 && options.row_tokens <= kMostRowTokens, InvalidArgument,
               "training row tokens: got ", options.row_tokens, ", expected 2 to ", kMostRowTokens);
  PRUNUS_CHECK(options.valid_fraction >= 0 && options.valid_fraction < 1, InvalidArgument,
               "validation share: got ", options.valid_fraction, ", expected 0 up to but not 1");
  PRUNUS_CHECK(options.max_valid_rows >= 1 && options.max_valid_rows <= kMostValidRows,
               InvalidArgument, "validation rows: got ", options.max_valid_rows, ", expected 1 to ",
               kMostValidRows);
}

bool packs(Packing packing, DataFormat format) {
  if (packing != Packing::Auto) return packing != Packing::Pad;
  return format == DataFormat::Text;
}

bool has_scored(const TrainRow& row) {
  return std::find(row.scored.begin(), row.scored.end(), uint8_t{1}) != row.scored.end();
}

// Turns documents and records into units: ids between prefix and EOS, and what is scored if the
// unit stands inside a row.
class UnitMaker {
 public:
  UnitMaker(const Tokenizer& tokenizer, const DataOptions& options, bool packed)
      : tokenizer_(tokenizer),
        options_(options),
        packed_(packed),
        prefix_(tokenizer.prefix_ids()),
        eos_(options.append_eos ? tokenizer.eos_id() : std::nullopt) {}

  bool packed() const { return packed_; }
  const std::vector<int64_t>& prefix() const { return prefix_; }

  // No ids for an empty document.
  TrainRow unit(const std::string& text) const {
    TrainRow row = row_of(text);
    row.scored.assign(row.ids.size(), 1);
    return row;
  }

  TrainRow unit(const InstructText& text) const {
    TrainRow row = row_of(text.prompt + text.response);
    const size_t length = row.ids.size();
    size_t prompt = 0;
    if (!options_.train_on_prompt) {
      const size_t alone = tokenizer_.encode(text.prompt).size() + prefix_.size();
      prompt = text.response.empty() ? length : std::min(length, alone);
    }
    row.scored.assign(length, 1);
    std::fill_n(row.scored.begin(), prompt, uint8_t{0});
    return row;
  }

  // The template has written whatever stands around the text.
  TrainRow unit(const ChatText& text) const {
    TrainRow row{.ids = tokenizer_.encode(text.text), .scored = {}};
    row.scored.assign(row.ids.size(), options_.train_on_prompt ? 1 : 0);
    for (const auto& [begin, end] : text.learnt) {
      const std::string_view whole = text.text;
      const size_t first = same_ids(row.ids, tokenizer_.encode(whole.substr(0, begin))).first;
      const auto [last, cut] = same_ids(row.ids, tokenizer_.encode(whole.substr(0, end)));
      const size_t past = std::min(row.ids.size(), last + (cut ? 1 : 0));
      for (size_t i = first; i < past; ++i) row.scored[i] = 1;
    }
    return row;
  }

  // Makes a unit a row of its own, unless units are packed later. True where it was cut.
  bool fit(TrainRow& unit) const {
    if (packed_ || unit.ids.empty()) return false;
    const auto most = static_cast<size_t>(options_.row_tokens);
    const bool cut = unit.ids.size() > most;
    unit.ids.resize(std::min(unit.ids.size(), most));
    unit.scored.resize(unit.ids.size());
    unit.scored.front() = 0;
    return cut;
  }

 private:
  // How many ids a row has in common with those of its beginning tokenised alone, and whether the
  // row's next id holds the end of it.
  static std::pair<size_t, bool> same_ids(const std::vector<int64_t>& row,
                                          const std::vector<int64_t>& beginning) {
    const auto [in_row, in_beginning] =
        std::mismatch(row.begin(), row.end(), beginning.begin(), beginning.end());
    return {static_cast<size_t>(in_row - row.begin()), in_beginning != beginning.end()};
  }

  TrainRow row_of(const std::string& text) const {
    TrainRow row{.ids = tokenizer_.encode(text), .scored = {}};
    if (row.ids.empty()) return row;
    row.ids.insert(row.ids.begin(), prefix_.begin(), prefix_.end());
    if (eos_ && row.ids.back() != *eos_) row.ids.push_back(*eos_);
    return row;
  }

  const Tokenizer& tokenizer_;
  const DataOptions& options_;
  bool packed_;
  std::vector<int64_t> prefix_;  // in front of every text
  std::optional<int64_t> eos_;
};

// The units of all texts in which something is scored.
template <typename Text>
Rows make_units(std::vector<Text> texts, const UnitMaker& maker, DataSplit& split) {
  split.documents = static_cast<int64_t>(texts.size());
  Progress progress("tokenise: documents", split.documents);
  Rows units;
  for (Text& text : texts) {
    TrainRow unit = maker.unit(text);
    text = {};
    const bool cut = maker.fit(unit);
    if (has_scored(unit)) {
      split.cut += cut ? 1 : 0;
      units.push_back(std::move(unit));
    } else {
      ++split.unscored;
    }
    progress.step();
  }
  return units;
}

void put(TrainRow& row, int64_t id, uint8_t scored) {
  row.scored.push_back(row.ids.empty() ? 0 : scored);
  row.ids.push_back(id);
}

// The beginning of a row that goes on inside a unit; with fewer places than that, of no use.
void begin(TrainRow& row, const std::vector<int64_t>& prefix) {
  for (const int64_t id : prefix) put(row, id, 0);
}

// Cuts the stream of all units into rows.
Rows pack(const Rows& units, size_t row_tokens, const std::vector<int64_t>& prefix) {
  Rows rows;
  TrainRow row;
  const auto finish = [&] {
    rows.push_back(std::move(row));
    row = {};
  };
  for (const TrainRow& unit : units) {
    for (size_t i = 0; i < unit.ids.size(); ++i) {
      if (row.ids.empty() && i > 0) begin(row, prefix);
      put(row, unit.ids[i], unit.scored[i]);
      if (row.ids.size() == row_tokens) finish();
    }
  }
  if (!row.ids.empty()) finish();
  return rows;
}

// Rows that begin with each unit in turn and are filled up with those after it.
Rows fill(const Rows& units, size_t row_tokens, const std::vector<int64_t>& prefix) {
  Rows rows;
  for (size_t first = 0; first < units.size(); ++first) {
    TrainRow row;
    const auto add = [&](const TrainRow& unit, bool whole) {
      for (size_t i = 0; i < unit.ids.size(); ++i) {
        if (row.ids.size() == row_tokens) {
          if (!whole) return;
          rows.push_back(std::move(row));
          row = {};
          begin(row, prefix);
        }
        put(row, unit.ids[i], unit.scored[i]);
      }
    };
    add(units[first], true);
    for (size_t next = first + 1; row.ids.size() < row_tokens && next < first + units.size();
         ++next) {
      add(units[next % units.size()], false);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

void drop_unscored(Rows& rows, DataSplit& split) {
  split.unscored += static_cast<int64_t>(
      std::erase_if(rows, [](const TrainRow& row) { return !has_scored(row); }));
}

// How many of n units are for validation.
size_t share_of(size_t n, double fraction) {
  if (n < 2 || fraction == 0) return 0;
  const auto share = static_cast<size_t>(std::llround(fraction * static_cast<double>(n)));
  return std::clamp(share, size_t{1}, n - 1);
}

// Moves randomly drawn units to `valid`, in their order, until there are enough of them or they
// fill the rows allowed.
void draw_valid(Rows& units, Rows& valid, const DataOptions& options, bool packed) {
  std::vector<size_t> order(units.size());
  std::iota(order.begin(), order.end(), size_t{0});
  PythonRandom(options.seed).shuffle(order);
  const size_t wanted = share_of(units.size(), options.valid_fraction);
  std::vector<bool> drawn(units.size(), false);
  int64_t room = options.max_valid_rows * options.row_tokens;
  for (size_t i = 0; i < wanted && room > 0; ++i) {
    drawn[order[i]] = true;
    room -= packed ? static_cast<int64_t>(units[order[i]].ids.size()) : options.row_tokens;
  }
  Rows rest;
  for (size_t i = 0; i < units.size(); ++i) {
    (drawn[i] ? valid : rest).push_back(std::move(units[i]));
  }
  units = std::move(rest);
}

// The conversations of a file as texts, all of them: a record that cannot be written is named
// before anything is trained.
std::vector<ChatText> chats_of(const TextFile& file, const ChatFormat& chat) {
  PRUNUS_CHECK(file.is_json(), Corrupt, file.path,
               ": is plain text, expected conversations as JSON lines or a JSON array");
  std::vector<ChatText> texts;
  for_each_record(file, [&](const Json& record, const std::string& where) {
    texts.push_back(chat.render(conversation_of(record, where), where));
  });
  PRUNUS_CHECK(!texts.empty(), Corrupt, file.path, ": holds no conversation");
  return texts;
}

Rows read_units(const TextFile& file, const UnitMaker& maker, const DataOptions& options,
                DataSplit& split) {
  if (split.format == DataFormat::Text) return make_units(documents_of(file), maker, split);
  if (split.format == DataFormat::Chat) {
    PRUNUS_CHECK(options.chat, InvalidArgument, file.path,
                 ": holds conversations, which need the model's chat template");
    return make_units(chats_of(file, *options.chat), maker, split);
  }
  return make_units(instructions_of(file), maker, split);
}

void pack_parts(DataSplit& split, const DataOptions& options, const std::vector<int64_t>& prefix) {
  for (Rows* part : {&split.train, &split.valid}) {
    const auto rows = options.packing == Packing::Fill ? fill : pack;
    *part = rows(*part, static_cast<size_t>(options.row_tokens), prefix);
    drop_unscored(*part, split);
  }
  const auto most = static_cast<size_t>(options.max_valid_rows);
  if (split.valid.size() > most) split.valid.resize(most);
}

}  // namespace

DataFormat parse_data_format(std::string_view name) {
  return parse_named(kFormats, name, "--format");
}

std::string_view data_format_name(DataFormat format) { return name_of(kFormats, format); }

DataFormat data_format(const TextFile& file, DataFormat asked) {
  if (asked != DataFormat::Auto) return asked;
  if (!file.is_json()) return DataFormat::Text;
  const Json record = first_record(file);
  if (is_chat_record(record)) return DataFormat::Chat;
  return is_instruct_record(record) ? DataFormat::Instruct : DataFormat::Text;
}

Packing parse_packing(std::string_view name) { return parse_named(kPackings, name, "--packing"); }

DataSplit read_train_data(const TextFile& file, const Tokenizer& tokenizer,
                          const DataOptions& options) {
  check_options(options);
  const auto begun = static_cast<int64_t>(tokenizer.prefix_ids().size());
  PRUNUS_CHECK(options.row_tokens > begun, InvalidArgument, "training row tokens: got ",
               options.row_tokens, ", but the tokenizer puts ", begun,
               " ids in front of every text; expected more");
  DataSplit split;
  split.format = data_format(file, options.format);
  const UnitMaker maker(tokenizer, options, packs(options.packing, split.format));
  split.train = read_units(file, maker, options, split);
  const bool by_units = split.train.size() > 1;
  if (by_units) draw_valid(split.train, split.valid, options, maker.packed());
  if (maker.packed()) pack_parts(split, options, maker.prefix());
  if (!by_units) draw_valid(split.train, split.valid, options, false);
  PRUNUS_CHECK(!split.train.empty(), Corrupt, file.path, ": nothing to train on: none of its ",
               split.documents, split.format == DataFormat::Text ? " documents" : " records",
               " has anything to predict within ", options.row_tokens, " tokens a row");
  return split;
}

}  // namespace prunus
