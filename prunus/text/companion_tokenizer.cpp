#include "prunus/text/companion_tokenizer.h"

#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/io/hf_directory.h"
#include "prunus/text/json_tokenizer.h"
#include "prunus/text/stock_class.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 28;

void set_class(const std::string& dir, const std::string& name) {
  const std::string path = dir + "/tokenizer_config.json";
  Json config = fs::exists(path) ? read_json(path, kMaxConfigBytes) : Json::object();
  config["tokenizer_class"] = name;
  write_file(path, config.dump(2) + "\n");
}

bool has_tokenizer(const std::string& dir) {
  return fs::exists(dir + "/tokenizer.json") || fs::exists(dir + "/tokenizer.model") ||
         fs::exists(dir + "/vocab.json");
}

// The type as stock software reads it: one that only Prunus knows is unknown there.
std::string stored_type(const std::string& dir) {
  const Json config = read_config(dir);
  const auto type = config.find("model_type");
  return type != config.end() && type->is_string() ? type->get<std::string>() : std::string();
}

}  // namespace

void keep_stock_tokenizer(const std::string& source_dir, const std::string& out_dir) {
  if (stored_type(source_dir) == stored_type(out_dir) || !has_tokenizer(out_dir)) return;
  const text::SidecarFiles before(source_dir);
  if (before.own_class()) return;
  const bool bytes = text::has_byte_level_part(source_dir);
  const text::StockClass* wanted = text::stock_class(before, bytes);
  const auto picked = [&] {
    const text::SidecarFiles after(out_dir);
    return text::stock_class_for(after, stored_type(out_dir), bytes);
  };
  if (picked() == wanted) return;
  set_class(out_dir, wanted == nullptr ? "PreTrainedTokenizerFast" : std::string(wanted->name));
  if (picked() == wanted) return;
  const auto document = text::generic_tokenizer_json(source_dir);
  if (!document) return;
  write_file(out_dir + "/tokenizer.json", document->dump(1) + "\n");
  set_class(out_dir, "PreTrainedTokenizerFast");
}

}  // namespace prunus
