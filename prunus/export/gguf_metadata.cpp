#include "prunus/export/gguf_metadata.h"

#include <algorithm>
#include <filesystem>

#include "prunus/base/error.h"
#include "prunus/io/gguf.h"
#include "prunus/io/hf_directory.h"
#include "prunus/text/gguf_tokenizer_entries.h"

namespace prunus {
namespace {

constexpr uint32_t kQuantizationVersion = 2;  // of ggml's block types

using Entries = std::vector<GgufEntry>;

GgufEntry entry_of(const GgufSetting& setting) {
  struct Maker {
    const std::string& key;
    GgufEntry operator()(int64_t value) const {
      return GgufEntry::uint32(key, static_cast<uint32_t>(value));
    }
    GgufEntry operator()(double value) const {
      return GgufEntry::float32(key, static_cast<float>(value));
    }
    GgufEntry operator()(bool value) const { return GgufEntry::boolean(key, value); }
    GgufEntry operator()(const std::string& value) const { return GgufEntry::text(key, value); }
    GgufEntry operator()(const std::vector<int64_t>& values) const {
      return GgufEntry::int32s(key, std::vector<int32_t>(values.begin(), values.end()));
    }
    GgufEntry operator()(const std::vector<bool>& values) const {
      return GgufEntry::booleans(key, values);
    }
  };
  return std::visit(Maker{setting.key}, setting.value);
}

Entries model_entries(const GgufChoice& choice) {
  Entries entries;
  for (const GgufSetting& setting : gguf_settings(choice.config, *choice.architecture)) {
    entries.push_back(entry_of(setting));
  }
  return entries;
}

bool has_tokenizer(const std::string& dir) {
  const std::vector<std::string> files = regular_files(dir);
  return std::any_of(files.begin(), files.end(), [](const std::string& name) {
    return name == "tokenizer.json" || name == "tokenizer.model" || name == "vocab.json";
  });
}

Entries tokenizer_entries(const GgufChoice& choice, const std::string& source, bool present,
                          const std::vector<int64_t>& tokens = {}) {
  if (!present) return {GgufEntry::text("tokenizer.ggml.model", "none")};
  return gguf_tokenizer_entries(
      source, {.vocab_size = choice.config.vocab_size, .pre = {}, .keep = tokens});
}

void append(Entries& to, Entries more) {
  to.insert(to.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

Entries of_directory(const GgufChoice& choice, const std::string& dir, uint32_t file_type) {
  const std::filesystem::path path = std::filesystem::weakly_canonical(dir);
  Entries entries = {
      GgufEntry::text("general.architecture", choice.architecture->name),
      GgufEntry::text("general.type", "model"),
      GgufEntry::text("general.name", path.filename().string()),
  };
  append(entries, model_entries(choice));
  entries.push_back(GgufEntry::uint32("general.file_type", file_type));
  entries.push_back(GgufEntry::uint32("general.quantization_version", kQuantizationVersion));
  append(entries, tokenizer_entries(choice, dir, has_tokenizer(dir)));
  return entries;
}

// Of the file as it was, not of what is written.
bool is_outdated(std::string_view key) {
  return key.starts_with("split.") || key == "general.size_label" ||
         key == "general.parameter_count";
}

// The entries of a file in its order; those of the model and of the tokenizer where their first
// ones stood.
class CarriedOver {
 public:
  CarriedOver(const GgufChoice& choice, const GgufFile& file, const std::vector<int64_t>& tokens)
      : choice_(choice), file_(file), tokens_(tokens), prefix_(architecture_in(file) + ".") {}

  Entries with(uint32_t file_type) {
    for (const std::string_view key : file_.keys()) add(key, file_type);
    add_model();
    add_tokenizer();
    return std::move(entries_);
  }

 private:
  static std::string architecture_in(const GgufFile& file) {
    return std::string(file.value("general.architecture").text());
  }

  void add(std::string_view key, uint32_t file_type) {
    if (key == "general.architecture") {
      entries_.push_back(GgufEntry::text(std::string(key), choice_.architecture->name));
    } else if (key == "general.file_type") {
      entries_.push_back(GgufEntry::uint32(std::string(key), file_type));
    } else if (key.starts_with(prefix_)) {
      add_model();
    } else if (key.starts_with("tokenizer.")) {
      add_tokenizer();
    } else if (!is_outdated(key)) {
      entries_.push_back(GgufEntry::copy(std::string(key), file_.value(key)));
    }
  }

  void add_model() {
    if (!std::exchange(model_added_, true)) append(entries_, model_entries(choice_));
  }

  void add_tokenizer() {
    if (std::exchange(tokenizer_added_, true)) return;
    const GgufValue* model = file_.find_value("tokenizer.ggml.model");
    append(entries_,
           tokenizer_entries(choice_, file_.path(), model != nullptr && !is_none(*model), tokens_));
  }

  static bool is_none(const GgufValue& model) { return model.text() == "none"; }

  const GgufChoice& choice_;
  const GgufFile& file_;
  const std::vector<int64_t>& tokens_;
  std::string prefix_;
  Entries entries_;
  bool model_added_ = false;
  bool tokenizer_added_ = false;
};

}  // namespace

std::vector<GgufEntry> gguf_metadata(const GgufChoice& choice, const std::string& source,
                                     uint32_t file_type, const std::vector<int64_t>& tokens) {
  if (is_gguf_path(source)) {
    return CarriedOver(choice, *GgufFile::open(source), tokens).with(file_type);
  }
  TORCH_INTERNAL_ASSERT(tokens.empty());
  return of_directory(choice, source, file_type);
}

}  // namespace prunus
