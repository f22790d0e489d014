#include "prunus/io/safetensors_index.h"

#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/base/stand_in.h"
#include "prunus/io/quote.h"

namespace prunus {
namespace {

constexpr uint64_t kMaxIndexBytes = 100'000'000;
constexpr int kMaxDepth = 64;

void check_shard_name(const std::string& path, const std::string& tensor, const std::string& file) {
  const bool plain = !file.empty() && file.find_first_of("/\\") == std::string::npos &&
                     file.find("..") == std::string::npos && file.find('\0') == std::string::npos;
  PRUNUS_CHECK(plain, Corrupt, path, ": tensor ", quote(tensor), " is placed in ", quote(file),
               ", expected a plain file name without '/', '\\' or '..'");
  PRUNUS_CHECK(file.ends_with(".safetensors"), Corrupt, path, ": tensor ", quote(tensor),
               " is placed in ", quote(file), ", expected a *.safetensors file");
}

// Follows the parser through the index; a tree of 100,000 tensors is never built.
class IndexReader final : public nlohmann::json_sax<Json> {
 public:
  explicit IndexReader(const std::string& path) : path_(path) {}

  WeightMap take() {
    PRUNUS_CHECK(seen_map_, Corrupt, path_, ": has no weight_map");
    return std::move(weight_map_);
  }

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("a boolean"); }
  bool number_integer(number_integer_t) override { return other("a number"); }
  bool number_unsigned(number_unsigned_t) override { return other("a number"); }
  bool number_float(number_float_t, const string_t&) override { return other("a number"); }
  bool binary(binary_t&) override { return other("binary data"); }

  bool string(string_t& value) override {
    if (!in_map()) return other("a string");
    check_shard_name(path_, key_, value);
    weight_map_[key_] = value;
    return true;
  }

  bool key(string_t& name) override {
    if (depth_ == 1) top_key_ = name;
    if (depth_ == 1 || in_map()) {
      auto& seen = depth_ == 1 ? top_keys_ : map_keys_;
      PRUNUS_CHECK(seen.insert(name).second, Corrupt, path_, ": duplicate key ", quote(name));
      key_ = name;
    }
    return true;
  }

  bool start_object(size_t) override {
    if (in_map()) other("an object");
    if (depth_ == 1 && top_key_ == "weight_map") seen_map_ = true;
    return descend();
  }

  bool start_array(size_t) override {
    other("an array");
    return descend();
  }

  bool end_object() override { return ascend(); }
  bool end_array() override { return ascend(); }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    PRUNUS_FAIL(Corrupt, path_, ": not valid JSON at byte ", position, ": ",
                quote(error.what(), 200), "; incomplete download?");
  }

 private:
  bool in_map() const { return depth_ == 2 && top_key_ == "weight_map"; }

  bool descend() {
    ++depth_;
    PRUNUS_CHECK(depth_ <= kMaxDepth, Corrupt, path_, ": JSON nested deeper than ", kMaxDepth);
    return true;
  }

  bool ascend() {
    --depth_;
    return true;
  }

  // Any value that is neither an object nor the name of a shard.
  bool other(const char* got) const {
    PRUNUS_CHECK(depth_ > 0, Corrupt, path_, ": is ", got, ", expected an object");
    PRUNUS_CHECK(depth_ != 1 || top_key_ != "weight_map", Corrupt, path_, ": weight_map is ", got,
                 ", expected an object");
    PRUNUS_CHECK(!in_map(), Corrupt, path_, ": weight_map: tensor ", quote(key_), " maps to ", got,
                 ", expected a file name");
    return true;
  }

  const std::string& path_;
  int depth_ = 0;
  bool seen_map_ = false;
  std::string top_key_;
  std::string key_;
  std::set<std::string> top_keys_;
  std::set<std::string> map_keys_;
  WeightMap weight_map_;
};

}  // namespace

WeightMap read_safetensors_index(const std::string& path) {
  const std::string text = read_file(path, kMaxIndexBytes);
  check_no_stand_in(text, path);
  // The parser takes a zero byte for the end of its input.
  PRUNUS_CHECK(text.find('\0') == std::string::npos, Corrupt, path, ": contains a zero byte");
  IndexReader reader(path);
  Json::sax_parse(text.begin(), text.end(), &reader);
  return reader.take();
}

std::string safetensors_index_text(const WeightMap& weight_map, uint64_t total_size_bytes) {
  std::string text = c10::str("{\n  \"metadata\": {\n    \"total_size\": ", total_size_bytes,
                              "\n  },\n  \"weight_map\": {");
  const char* separator = "\n";
  for (const auto& [tensor, file] : weight_map) {
    text += c10::str(separator, "    ", Json(tensor).dump(), ": ", Json(file).dump());
    separator = ",\n";
  }
  return text + "\n  }\n}\n";
}

}  // namespace prunus
