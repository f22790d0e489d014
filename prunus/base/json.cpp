#include "prunus/base/json.h"

#include <set>
#include <vector>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/stand_in.h"

namespace prunus {
namespace {

constexpr int kMaxDepth = 64;

// Rejects what the grammar allows but a file we trust with sizes and names must not contain.
class Watcher {
 public:
  explicit Watcher(const std::string& where) : where_(where) {}

  bool operator()(int depth, nlohmann::detail::parse_event_t event, const Json& parsed) {
    using Event = nlohmann::detail::parse_event_t;
    // `depth` counts the containers around the event, not the one that it opens.
    const int opened = event == Event::object_start || event == Event::array_start ? 1 : 0;
    PRUNUS_CHECK(depth + opened <= kMaxDepth, Corrupt, where_, ": JSON nested deeper than ",
                 kMaxDepth);
    if (event == Event::object_start) {
      keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto key = parsed.get<std::string>();
      PRUNUS_CHECK(keys_.back().insert(key).second, Corrupt, where_, ": duplicate key '", key, "'");
    }
    return true;
  }

 private:
  const std::string& where_;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  check_no_stand_in(text, where);
  // The parser takes a zero byte for the end of its input and would ignore what follows.
  PRUNUS_CHECK(text.find('\0') == std::string_view::npos, Corrupt, where, ": contains a zero byte");
  try {
    Watcher watcher(where);
    return Json::parse(text.begin(), text.end(), std::ref(watcher));
  } catch (const nlohmann::json::exception& error) {
    PRUNUS_FAIL(Corrupt, where, ": not valid JSON: ", error.what(), "; incomplete download?");
  }
}

Json read_json(const std::string& path, uint64_t max_bytes) {
  return parse_json(read_file(path, max_bytes), path);
}

}  // namespace prunus
