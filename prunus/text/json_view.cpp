#include "prunus/text/json_view.h"

#include <unordered_set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/stand_in.h"

namespace prunus::text {
namespace {

using nlohmann::json;
constexpr int kMaxDepth = 64;
constexpr uint64_t kMaxFileBytes = uint64_t{256} << 20;

// The parser keeps the last of two equal keys without a word; this does not.
class Watcher {
 public:
  explicit Watcher(const std::string& where) : where_(where) {}

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    PRUNUS_CHECK(depth <= kMaxDepth, Corrupt, where_, ": JSON nested deeper than ", kMaxDepth);
    if (event == json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      PRUNUS_CHECK(keys_.back().insert(key).second, Corrupt, where_, ": duplicate key '", key, "'");
    }
    return true;
  }

 private:
  const std::string& where_;
  std::vector<std::unordered_set<std::string>> keys_;
};

}  // namespace

json read_large_json(const std::string& path) {
  const std::string content = read_file(path, kMaxFileBytes);
  check_no_stand_in(content, path);
  try {
    Watcher watcher(path);
    return json::parse(content, std::ref(watcher));
  } catch (const json::exception& error) {
    PRUNUS_FAIL(Corrupt, path, ": not valid JSON: ", error.what(), "; incomplete download?");
  }
}

bool JsonView::is_null() const { return node_->is_null(); }

bool JsonView::has(const char* key) const {
  PRUNUS_CHECK(node_->is_object(), Corrupt, where_, ": is ", node_->type_name(),
               ", expected an object");
  const auto found = node_->find(key);
  return found != node_->end() && !found->is_null();
}

JsonView JsonView::at(const char* key) const {
  PRUNUS_CHECK(has(key), Corrupt, where_, ": has no '", key, "'");
  const bool root = where_.find(": ") == std::string::npos;
  return {*node_->find(key), c10::str(where_, root ? ": " : ".", key)};
}

std::vector<JsonView> JsonView::elements() const {
  PRUNUS_CHECK(node_->is_array(), Corrupt, where_, ": is ", node_->type_name(),
               ", expected an array");
  std::vector<JsonView> views;
  for (const auto& element : *node_) {
    views.emplace_back(element, c10::str(where_, "[", views.size(), "]"));
  }
  return views;
}

std::string JsonView::text(const char* key) const {
  const JsonView member = at(key);
  PRUNUS_CHECK(member.raw().is_string(), Corrupt, member.where(), ": is ", member.raw().type_name(),
               ", expected a string");
  return member.raw().get<std::string>();
}

int64_t JsonView::integer(const char* key) const {
  const JsonView member = at(key);
  const auto& raw = member.raw();
  PRUNUS_CHECK(raw.is_number_integer(), Corrupt, member.where(), ": is ", raw.dump().substr(0, 40),
               ", expected an integer");
  PRUNUS_CHECK(!raw.is_number_unsigned() || raw.get<uint64_t>() <= uint64_t{INT64_MAX}, Corrupt,
               member.where(), ": ", raw.dump(), " does not fit 64 bits");
  return raw.get<int64_t>();
}

bool JsonView::flag(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  const JsonView member = at(key);
  PRUNUS_CHECK(member.raw().is_boolean(), Corrupt, member.where(), ": is ",
               member.raw().type_name(), ", expected true or false");
  return member.raw().get<bool>();
}

void JsonView::require_unset(const char* key) const {
  if (!has(key)) return;
  const JsonView member = at(key);
  const auto& raw = member.raw();
  const bool unset = (raw.is_boolean() && !raw.get<bool>()) ||
                     (raw.is_number() && raw.get<double>() == 0) ||
                     (raw.is_string() && raw.get_ref<const std::string&>().empty());
  PRUNUS_CHECK(unset, Unsupported, member.where(), ": ", raw.dump().substr(0, 80),
               " is not supported (only null)");
}

}  // namespace prunus::text
